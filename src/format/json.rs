//! JSON that nobody has checked yet, read so that it costs no more memory than its own length. The parser that is used copies texts with
//! escapes, repeats unexpected words in its errors, and fills lists before anybody counts them.

use super::{FormatError, within};
use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// Rule 58: objects and arrays stand within each other no deeper.
const DEEPEST: u64 = 1 << 19;
/// So much of an error is shown: it may repeat a text.
const LONGEST_ERROR: usize = 300;

/// Reads a value in which no text is longer than `longest`, as it is spelt.
pub fn parse<T: DeserializeOwned>(bytes: &[u8], longest: u64) -> Result<T, FormatError> {
    // A short line of an inventory of millions has nothing in it that is too long.
    if bytes.len() as u64 > longest.min(DEEPEST) {
        bound(bytes, longest)?;
    }
    serde_json::from_slice(bytes).map_err(|e| {
        let mut text = e.to_string();
        text.truncate(text.floor_char_boundary(LONGEST_ERROR));
        FormatError::Syntax(text)
    })
}

/// Measures all texts and the depth; whether it is JSON at all is for the parser to say.
fn bound(bytes: &[u8], longest: u64) -> Result<(), FormatError> {
    let (mut depth, mut deepest, mut at) = (0u64, 0, 0);
    while let Some(byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'"' => {
                let len = text_len(&bytes[at..]);
                within("length of a text", len as u64, 0, longest)?;
                at += len + 1;
            }
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    within("depth of JSON", deepest, 0, DEEPEST)
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

/// For `deserialize_with`: an array of at most `MOST` elements. One more is an error when it comes, not at the end.
pub fn at_most<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MOST: usize>(d: D) -> Result<Vec<T>, D::Error> {
    d.deserialize_seq(AtMost::<T, MOST>(PhantomData))
}

/// The same for an object with any names.
pub fn names_at_most<'de, D, T, const MOST: usize>(d: D) -> Result<BTreeMap<String, T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    d.deserialize_map(NamesAtMost::<T, MOST>(PhantomData))
}

struct AtMost<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for AtMost<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an array of at most {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Vec<T>, A::Error> {
        let mut all = Vec::new();
        while let Some(element) = array.next_element()? {
            if all.len() == MOST {
                return Err(A::Error::custom(format_args!("more than {MOST} elements")));
            }
            all.push(element);
        }
        Ok(all)
    }
}

struct NamesAtMost<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for NamesAtMost<T, MOST> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "an object of at most {MOST} fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<BTreeMap<String, T>, A::Error> {
        let mut all = BTreeMap::new();
        while let Some((name, value)) = object.next_entry()? {
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
    use proptest::prelude::*;
    use serde_json::Value as Json;

    fn measured(text: &str, longest: u64) -> Result<(), FormatError> {
        bound(text.as_bytes(), longest)
    }

    #[test]
    fn texts_are_measured_as_they_are_spelt() {
        for text in
            [r#""abcd""#, r#"["abcd","",{"abcd":1}]"#, r#""\\\"""#, r#"{"a":"\"bc"}"#, "1234567", "[[]]", "\"abcd"]
        {
            assert_eq!(measured(text, 4), Ok(()), "{text}");
        }
        for text in [r#""abcde""#, r#"[1,"abcde"]"#, r#"{"abcde":1}"#, r#""\u0061""#, r#""\"\"\"""#, "\"abcde"] {
            assert!(matches!(measured(text, 4), Err(FormatError::Limit { what: "length of a text", .. })), "{text}");
        }
    }

    #[test]
    fn depth_is_measured_outside_of_texts() {
        let deep = |n: u64| "[".repeat(n as usize) + &"]".repeat(n as usize);
        assert_eq!(measured(&deep(DEEPEST), 4), Ok(()));
        assert!(measured(&deep(DEEPEST + 1), 4).is_err() && measured(&"{".repeat(DEEPEST as usize + 1), 4).is_err());
        assert_eq!(measured(&format!("\"{}\"", "[".repeat(1 << 20)), 1 << 20), Ok(()));
        assert_eq!(measured(&"[]".repeat(1 << 20), 4), Ok(()));
    }

    #[test]
    fn errors_stay_short() {
        for text in [format!("\"{}\"", "\u{7f}".repeat(5000)), format!("\"{}\"", "ü".repeat(5000))] {
            let Err(FormatError::Syntax(why)) = parse::<u32>(text.as_bytes(), 1 << 20) else { panic!() };
            assert!(why.len() <= LONGEST_ERROR && why.starts_with("invalid type"), "{why}");
        }
    }

    #[test]
    fn one_element_too_many_is_an_error_at_once() {
        #[derive(Debug, Deserialize)]
        struct Few {
            #[serde(deserialize_with = "at_most::<_, _, 2>")]
            array: Vec<u8>,
            #[serde(deserialize_with = "names_at_most::<_, _, 2>")]
            object: BTreeMap<String, u8>,
        }
        let read = |text: &str| serde_json::from_str::<Few>(text);
        let few = read(r#"{"array":[1,2],"object":{"a":1,"b":2,"a":3}}"#).unwrap();
        assert_eq!((few.array.len(), few.object.len()), (2, 2));
        // What follows is not even looked at.
        assert!(read(r#"{"array":[1,2,3,?"#).unwrap_err().to_string().contains("more than 2"));
        assert!(read(r#"{"array":[],"object":{"a":1,"b":2,"c":3,?"#).unwrap_err().to_string().contains("more than 2"));
    }

    proptest! {
        /// Whatever is JSON with short texts is read as serde_json reads it.
        #[test]
        fn what_is_short_enough_is_read(text in r#"[\[\]{},:"\\a1 ]{0,40}"#) {
            prop_assert_eq!(parse::<Json>(text.as_bytes(), 40).ok(), serde_json::from_str::<Json>(&text).ok());
        }
    }
}
