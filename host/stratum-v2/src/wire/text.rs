//! Bytes that a stranger calls text, made fit to print (F-25, S-17).

/// The text in a `STR0_255` such as `user_identity`: what is not UTF-8 becomes U+FFFD, and characters that control a
/// terminal or the direction of writing are left out. Not escaped for HTML or anything else.
pub fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|character| !is_invisible(*character)).collect()
}

/// Controls, line and paragraph separators, and the marks that hide or reorder other characters.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn names_lose_what_would_steer_a_terminal() {
        // F-25, S-17
        assert_eq!(printable(b"alice.rig1"), "alice.rig1");
        assert_eq!(printable(b"a\x1b[31mb\r\n\0c\x7f"), "a[31mbc");
        assert_eq!(printable("gr\u{202e}un \u{feff}\u{2028}\u{85}é".as_bytes()), "grun é");
        assert_eq!(printable(b"\xff\xfeok\xc3"), "\u{fffd}\u{fffd}ok\u{fffd}");
        assert_eq!(printable(b""), "");
    }
}
