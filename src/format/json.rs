//! JSON that nobody has checked yet, read so that it has one meaning, and costs no more memory than its own length. The parser that
//! is used copies texts with escapes, repeats unexpected words in its errors, fills lists before anybody counts them, takes an array
//! for an object, and does not look at what is ignored.

use super::{FormatError, within};
use serde::Deserialize;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Rule 58: objects and arrays stand within each other no deeper.
const DEEPEST: u64 = 64;
/// Rule 60: an object has no more fields.
const MOST_FIELDS: u64 = 1024;
/// Rule 61: a number has no more digits, which is as many as the greatest of 64 bits has.
const MOST_DIGITS: u64 = 20;
/// So much of an error is shown: it may repeat a text.
const LONGEST_ERROR: usize = 300;

/// Reads an object in which no text is longer than `longest`, as it is spelt.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], longest: u64) -> Result<T, FormatError> {
    let text = std::str::from_utf8(bytes).map_err(|_| syntax("it is not UTF-8"))?;
    scan(text, longest)?;
    let mut parser = serde_json::Deserializer::from_str(text);
    let read = T::deserialize(Object(&mut parser)).and_then(|value| parser.end().map(|()| value));
    read.map_err(|e| {
        let mut text = e.to_string();
        text.truncate(text.floor_char_boundary(LONGEST_ERROR));
        FormatError::Syntax(text)
    })
}

fn syntax(why: &str) -> FormatError {
    FormatError::Syntax(why.into())
}

/// Looks at all that is there, at what is ignored too: texts (rules 3 and 58), names (rule 60), numbers (rule 61) and the depth.
/// Whether it is JSON else is for the parser to say.
fn scan(text: &str, longest: u64) -> Result<(), FormatError> {
    // Of each object that is open, where its names begin; and the names of all of them.
    let (mut open, mut names): (Vec<Option<usize>>, Vec<Cow<str>>) = (Vec::new(), Vec::new());
    let (bytes, mut at) = (text.as_bytes(), 0);
    while let Some(byte) = bytes.get(at) {
        let begun = at;
        at += 1;
        match byte {
            b'"' => {
                let len = text_len(&bytes[at..]);
                within("length of a text", len as u64, 0, longest)?;
                at += len + 1;
                let said = meaning(text.get(begun..at).unwrap_or(&text[begun..]))?;
                if let Some(Some(first)) = open.last().filter(|_| is_name(bytes.get(at..).unwrap_or_default())) {
                    names.push(said);
                    within("fields of an object", (names.len() - first) as u64, 0, MOST_FIELDS)?;
                }
            }
            b'[' | b'{' => {
                open.push((*byte == b'{').then_some(names.len()));
                within("depth of JSON", open.len() as u64, 0, DEEPEST)?;
            }
            b']' | b'}' => {
                if let Some(Some(first)) = open.pop() {
                    names[first..].sort_unstable();
                    if names[first..].is_sorted_by(|a, b| a < b) {
                        names.truncate(first);
                    } else {
                        return Err(syntax("an object has a field twice"));
                    }
                }
            }
            b'-' | b'0'..=b'9' => {
                let of_number = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
                at += bytes[at..].iter().position(|b| !of_number(b)).unwrap_or(bytes.len() - at);
                if !is_integer(&text[begun..at]) {
                    return Err(syntax("a number is not written as an integer"));
                }
                let digits = text[begun..at].trim_start_matches('-').len();
                within("digits of a number", digits as u64, 0, MOST_DIGITS)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// What a text says, with its quotes around it. The parser would not look at escapes in what is ignored.
fn meaning(spelt: &str) -> Result<Cow<'_, str>, FormatError> {
    match spelt.contains('\\') {
        false => Ok(Cow::Borrowed(spelt.trim_matches('"'))),
        true => serde_json::from_str(spelt).map(Cow::Owned).map_err(|_| syntax("a text is not well-formed")),
    }
}

/// Whether a number has neither fraction nor exponent, and is not `-0`. Zeros before it are for the parser.
fn is_integer(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    digits.bytes().all(|b| b.is_ascii_digit()) && number != "-0"
}

/// Whether the text before these bytes is the name of a field.
fn is_name(behind: &[u8]) -> bool {
    behind.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':')
}

/// Bytes before the quote that ends a text.
fn text_len(bytes: &[u8]) -> usize {
    let mut escaped = false;
    let end = bytes.iter().position(|byte| match (escaped, byte) {
        (true, _) => {
            escaped = false;
            false
        }
        (_, b'\\') => {
            escaped = true;
            false
        }
        (_, byte) => *byte == b'"',
    });
    end.unwrap_or(bytes.len())
}

/// Rule 62: gives a struct an object and nothing else. By itself it would take an array as well, the elements for its fields in their
/// order.
struct Object<D>(D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A struct within another value, which is read in the same way.
struct Struct<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Struct<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(Object(d)).map(Struct)
    }
}

/// For `deserialize_with`: a field that may be absent, which must have a `default`. If it is there, it is not null (rule 62).
pub fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// For `default`: a field that must be absent. Whatever stands in it, null too, is an error.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent;

impl<'de> Deserialize<'de> for Absent {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Absent, D::Error> {
        Err(D::Error::custom("it has a field that must not be there"))
    }
}

/// A word for a variant of an enum, which by itself would take `{"word":null}` as well.
pub fn word<'de, D: Deserializer<'de>, T: DeserializeOwned>(d: D) -> Result<T, D::Error> {
    d.deserialize_str(Word(PhantomData))
}

/// An array of `LEAST` to `MOST` elements. One more is an error when it comes, not at the end.
pub fn array<'de, D, T, const LEAST: usize, const MOST: usize>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    d.deserialize_seq(Array::<T, LEAST, MOST>(PhantomData))
}

/// The same of objects, which are read as structs.
pub fn objects<'de, D, T, const LEAST: usize, const MOST: usize>(d: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let all = array::<D, Struct<T>, LEAST, MOST>(d)?;
    Ok(all.into_iter().map(|Struct(one)| one).collect())
}

/// An object with any names, each of an object that is read as a struct; at most `MOST` of them.
pub fn named_objects<'de, D, T, const MOST: usize>(d: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    d.deserialize_map(NamedObjects::<T, MOST>(PhantomData))
}

struct Word<T>(PhantomData<T>);

impl<T: DeserializeOwned> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a word")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::deserialize(StrDeserializer::new(text))
    }
}

struct Array<T, const LEAST: usize, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const LEAST: usize, const MOST: usize> Visitor<'de> for Array<T, LEAST, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an array of {LEAST} to {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = array.next_element()? {
            if all.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} elements")));
            }
            all.push(element);
        }
        match all.len() < LEAST {
            true => Err(A::Error::invalid_length(all.len(), &self)),
            false => Ok(all),
        }
    }
}

struct NamedObjects<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for NamedObjects<T, MOST> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object of at most {MOST} fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<BTreeMap<String, T>, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((name, Struct(value))) = object.next_entry()? {
            if all.insert(name, value).is_none() && all.len() > MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} elements")));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::limits::of_page;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    #[test]
    fn limits_are_those_of_the_page() {
        assert_eq!(of_page::of("depth of JSON"), [0, DEEPEST]);
        assert_eq!(of_page::of("fields of an object in JSON"), [0, MOST_FIELDS]);
    }

    fn scanned(text: &str, longest: u64) -> Result<(), FormatError> {
        scan(text, longest)
    }

    #[test]
    fn texts_are_measured_as_they_are_spelt() {
        for text in
            [r#""abcd""#, r#"["abcd","",{"abcd":1}]"#, r#""\\\"""#, r#"{"a":"\"bc"}"#, "1234567", "[[]]", "\"abcd"]
        {
            assert_eq!(scanned(text, 4), Ok(()), "{text}");
        }
        for text in [r#""abcde""#, r#"[1,"abcde"]"#, r#"{"abcde":1}"#, r#""\u0061""#, r#""\"\"\"""#, "\"abcde"] {
            assert!(matches!(scanned(text, 4), Err(FormatError::Limit { what: "length of a text", .. })), "{text}");
        }
    }

    #[test]
    fn depth_is_measured_outside_of_texts() {
        let deep = |n: u64| "[".repeat(n as usize) + &"]".repeat(n as usize);
        assert_eq!(scanned(&deep(DEEPEST), 4), Ok(()));
        assert!(scanned(&deep(DEEPEST + 1), 4).is_err() && scanned(&"{".repeat(DEEPEST as usize + 1), 4).is_err());
        assert_eq!(scanned(&format!("\"{}\"", "[".repeat(1 << 20)), 1 << 20), Ok(()));
        assert_eq!(scanned(&"[]".repeat(1 << 20), 4), Ok(()));
    }

    #[test]
    fn no_object_has_a_name_twice_however_it_is_spelt() {
        for once in [
            r#"{"a":1,"b":{"a":1},"c":["a","a"],"d":"a"}"#,
            r#"{"a" : "b", "b" : "a"}"#,
            r#"[{"a":1},{"a":1}]"#,
            r#"{"\u0061":1,"A":1,"":1}"#,
        ] {
            assert_eq!(scanned(once, 100), Ok(()), "{once}");
        }
        for twice in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"b":2,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"x":[{"a":1,"b":{"a":1},"a" :1}]}"#,
            r#"{"":1,"":1}"#,
        ] {
            assert_eq!(scanned(twice, 100), Err(syntax("an object has a field twice")), "{twice}");
        }
        let many = |n: u64| format!("{{{}}}", (0..n).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(","));
        assert_eq!(scanned(&many(MOST_FIELDS), 100), Ok(()));
        assert!(matches!(scanned(&many(MOST_FIELDS + 1), 100), Err(FormatError::Limit { .. })));
        // Those of the objects around it do not count.
        let within = format!("{},\"x\":{}}}", many(MOST_FIELDS - 1).trim_end_matches('}'), many(MOST_FIELDS));
        assert_eq!(scanned(&within, 100), Ok(()));
    }

    #[test]
    fn numbers_are_written_as_integers() {
        for good in ["0", "-1", "[10,-20]", "{\"1.5\":12345678901234567890}", "[-99999999999999999999]", "\"1e5\""] {
            assert_eq!(scanned(good, 100), Ok(()), "{good}");
        }
        for bad in ["1.0", "1e3", "1E3", "-0", "[1,-0]", "{\"a\":1e-3}", "0.5", "-", "1+1", "0x1", "[1.]"] {
            // A sign alone is for the parser.
            assert!(bad == "-" || scanned(bad, 100).is_err(), "{bad}");
        }
        for long in ["123456789012345678901", "[-123456789012345678901]", "{\"later\":[0,100000000000000000000]}"] {
            let refused = scanned(long, 100);
            assert!(matches!(refused, Err(FormatError::Limit { what: "digits of a number", .. })), "{long}");
        }
    }

    #[test]
    fn what_is_ignored_is_well_formed_all_the_same() {
        #[derive(Deserialize)]
        struct Nothing {}
        let read = |bytes: &[u8]| parse::<Nothing>(bytes, 100);
        assert!(read(br#"{"x":"\ud83d\ude00","y":[null,true,{}]}"#).is_ok());
        for bad in
            [&b"{\"x\":\"\xff\"}"[..], br#"{"x":"\ud800"}"#, br#"{"x":"\q"}"#, br#"{"x":1}}"#, b"[]", b"[1]", b"null"]
        {
            assert!(read(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn errors_stay_short() {
        for text in ["\u{7f}".repeat(5000), "ü".repeat(5000)] {
            let text = format!("{{\"tag\":\"{text}\"}}");
            let Err(FormatError::Syntax(why)) = parse::<Tagged>(text.as_bytes(), 1 << 20) else { panic!() };
            assert!(why.len() <= LONGEST_ERROR && why.starts_with("invalid type"), "{why}");
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Tagged {
        tag: u8,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Few {
        #[serde(deserialize_with = "array::<_, _, 1, 2>")]
        array: Vec<u8>,
        #[serde(deserialize_with = "objects::<_, _, 0, 2>")]
        objects: Vec<Tagged>,
        #[serde(deserialize_with = "named_objects::<_, _, 2>")]
        named: BTreeMap<String, Tagged>,
        #[serde(default, deserialize_with = "present")]
        maybe: Option<u8>,
        #[serde(deserialize_with = "word")]
        word: Words,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "lowercase")]
    enum Words {
        One,
    }

    const FEW: &str = r#"{"array":[1,2],"objects":[{"tag":1}],"named":{"a":{"tag":2}},"maybe":3,"word":"one"}"#;

    #[test]
    fn each_value_has_one_form() {
        let few = parse::<Few>(FEW.as_bytes(), 100).unwrap();
        assert_eq!((few.array.len(), few.objects.len(), few.named["a"].tag, few.maybe), (2, 1, 2, Some(3)));
        assert!(parse::<Few>(FEW.replace("\"maybe\":3,", "").as_bytes(), 100).unwrap().maybe.is_none());
        for (from, to) in [
            ("[{\"tag\":1}]", "[[1]]"),
            ("{\"a\":{\"tag\":2}}", "{\"a\":[2]}"),
            ("{\"a\":{\"tag\":2}}", "[]"),
            ("\"maybe\":3", "\"maybe\":null"),
            ("\"one\"", "{\"one\":null}"),
            ("\"one\"", "\"two\""),
            ("[1,2]", "[]"),
            ("[1,2]", "null"),
            ("[1,2]", "{}"),
        ] {
            assert!(FEW.contains(from), "{from}");
            assert!(parse::<Few>(FEW.replace(from, to).as_bytes(), 100).is_err(), "{to}");
        }
        // Without any of it serde would take all fields in their order.
        assert!(parse::<Few>(br#"[[1,2],[{"tag":1}],{},3,"one"]"#, 100).is_err());
    }

    #[test]
    fn a_field_that_must_be_absent_may_not_even_be_null() {
        #[derive(Deserialize)]
        struct Kept {
            #[serde(default)]
            other: Absent,
        }
        let read = |text: &str| parse::<Kept>(text.as_bytes(), 100);
        let Kept { other: Absent } = read(r#"{"others":null}"#).unwrap();
        for there in [r#"{"other":null}"#, r#"{"other":1}"#, r#"{"other":{}}"#, r#"{"o\u0074her":"x"}"#] {
            assert!(read(there).is_err(), "{there}");
        }
    }

    #[test]
    fn one_element_too_many_is_an_error_at_once() {
        let read = |text: &str| serde_json::from_str::<Few>(text).unwrap_err().to_string();
        // What follows is not even looked at.
        assert!(read(r#"{"array":[1,2,3,?"#).contains("more than 2"));
        assert!(read(r#"{"objects":[{"tag":1},{"tag":1},{"tag":1},?"#).contains("more than 2"));
        let one = |name: &str| format!("\"{name}\":{{\"tag\":1}},");
        assert!(read(&format!("{{\"named\":{{{}{}{}?", one("a"), one("b"), one("c"))).contains("more than 2"));
    }

    proptest! {
        /// Whatever is an object of texts, and has each name once, is read as serde_json reads it.
        #[test]
        fn what_has_one_meaning_is_read(text in r#"\{"a":[\[\]{},:"\\a1 ]{0,40}\}"#) {
            let read = parse::<Json>(text.as_bytes(), 60).ok();
            prop_assert!(read.is_none() || read == serde_json::from_str::<Json>(&text).ok());
        }
    }
}
