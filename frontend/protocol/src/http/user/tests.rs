use super::*;

fn named(header: &'static str, value: &str) -> Option<String> {
    let mut headers = HeaderMap::new();
    headers.insert(header, value.parse().expect("a header"));
    of_headers(&headers)
}

#[test]
fn the_name_is_taken_and_the_secret_is_not() {
    for (value, name) in [
        ("Basic cm9vdDpyb290", Some("root")),
        ("basic  asO8cmdlbjpnZWhlaW06eA==", Some("jürgen")),
        ("BASIC cm9vdDo", Some("root")),
        ("Token root:secret", Some("root")),
        ("token root:", Some("root")),
        ("Bearer root:secret", Some("root")),
        // {"username":"ann","exp":1} and {"sub":"bob"}.
        ("Bearer eyJhbGciOiJub25lIn0.eyJ1c2VybmFtZSI6ImFubiIsImV4cCI6MX0.c2ln", Some("ann")),
        ("Bearer e30.eyJzdWIiOiJib2IifQ.c2ln", Some("bob")),
    ] {
        assert_eq!(named("authorization", value).as_deref(), name, "{value}");
    }
    assert_eq!(named("x-greptime-auth", "Basic cm9vdDpyb290").as_deref(), Some("root"));
}

#[test]
fn a_header_that_names_nobody_is_no_error() {
    for value in [
        "",
        "Basic",
        "Basic !!!",
        "Basic cm9vdA==",
        "Basic OnNlY3JldA==",
        "Token 7DQ1-opaque==",
        "Bearer opaque",
        "Bearer a.b.c",
        "Bearer a.e30.c",
        "Digest username=\"root\"",
    ] {
        assert_eq!(named("authorization", value), None, "{value}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(value in "\\PC{0,40}", scheme in "(Basic|Token|Bearer|x)") {
        let mut headers = HeaderMap::new();
        if let Ok(value) = format!("{scheme} {value}").parse() {
            headers.insert("authorization", value);
        }
        let _ = of_headers(&headers);
    }

    #[test]
    fn base64_gives_back_what_was_encoded(bytes: Vec<u8>) {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
        let letters = (bytes.len() * 8).div_ceil(6);
        let text = (0..letters).map(|letter| {
            let six = (0..6).fold(0, |six, at| six << 1 | bit(letter * 6 + at));
            LETTERS[six as usize] as char
        });
        proptest::prop_assert_eq!(base64(&text.collect::<String>()), Some(bytes));
    }
}
