//! Answers: whatever is in a text, a parser finds the same text again.

use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    text: &'a str,
    absent: Option<&'a str>,
    list: Vec<&'a str>,
    inner: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    text: &'a str,
}

/// The text as XML 1.0 can carry it.
fn carried(text: &str) -> String {
    let carried = |c: char| match c {
        '\t' | '\n' | '\r' => c,
        '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        c => c,
    };
    text.chars().map(carried).collect()
}

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let list: Vec<&str> = text.split('|').collect();
    let inner = Inner { text: list[list.len() - 1] };
    let answer = Answer { text: &text, absent: None, list: list.clone(), inner };
    let xml = hedgerow_vpc::query::xml::to_string(&answer).expect("a form for every type");
    let document = format!("<answer>{xml}</answer>");
    let parsed = match roxmltree::Document::parse(&document) {
        Ok(parsed) => parsed,
        Err(error) => panic!("{error} in {document}"),
    };
    let texts = |name: &str| -> Vec<String> {
        let named = parsed.descendants().filter(|node| node.has_tag_name(name));
        named.map(|node| node.text().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(texts("item"), list.iter().map(|item| carried(item)).collect::<Vec<_>>());
    assert_eq!(texts("text"), [carried(&text), carried(list[list.len() - 1])]);
    assert_eq!(texts("absent"), [""; 0]);
}
