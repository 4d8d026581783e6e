//! Text from outside, made safe to show. Names, labels and paths come from people and drives; a terminal obeys what it is shown.

/// Text from outside, safe to show: control characters, direction marks and invalid bytes are escaped.
pub fn printable(bytes: &[u8]) -> String {
    let mut shown = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}');
            if c.is_control() || hidden {
                shown.extend(c.escape_unicode());
            } else {
                shown.push(c);
            }
        }
        chunk.invalid().iter().for_each(|b| shown.push_str(&format!("\\x{b:02x}")));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_act_on_a_terminal_is_escaped() {
        assert_eq!(printable(b"model-00001.safetensors"), "model-00001.safetensors");
        assert_eq!(printable("Gewicht-ü 模型 🤖".as_bytes()), "Gewicht-ü 模型 🤖");
        assert_eq!(printable(b"a\nb\x1b[2J"), "a\\u{a}b\\u{1b}[2J");
        assert_eq!(printable("rtl\u{202e}gnp".as_bytes()), "rtl\\u{202e}gnp");
        assert_eq!(printable(b"\xff\xfe.bin"), "\\xff\\xfe.bin");
    }
}
