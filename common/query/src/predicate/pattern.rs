//! LIKE and `~` as regexes that match as a whole, in the syntax of crate `regex`.

/// Characters with a meaning in a regex.
const META: &str = "\\.+*?()|[]{}^$#&-~";

/// A LIKE pattern; `None` when it ends in its escape character.
pub(super) fn like(pattern: &str, escape: char, ignore_case: bool) -> Option<String> {
    let mut regex = String::from(if ignore_case { "(?is)" } else { "(?s)" });
    let mut chars = pattern.chars();
    while let Some(next) = chars.next() {
        match next {
            c if c == escape => literal(&mut regex, chars.next()?),
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            c => literal(&mut regex, c),
        }
    }
    Some(regex)
}

/// A regex that may match anywhere.
pub(super) fn contains(pattern: &str, ignore_case: bool) -> String {
    let flags = if ignore_case { "i" } else { "" };
    format!("(?s:.*)(?{flags}:{pattern})(?s:.*)")
}

fn literal(regex: &mut String, c: char) {
    if META.contains(c) {
        regex.push('\\');
    }
    regex.push(c);
}
