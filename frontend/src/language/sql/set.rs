//! SET: the settings that have a meaning here; all others are accepted and ignored.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::Result;
use varve_query::zone::Zone;

use super::ast::Setting;
use super::parse::skip;

/// Reads a statement whose first word is SET. Errors: `BadValue` for an unknown time zone.
pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Setting> {
    skip(parser, 1);
    let mut tokens = Vec::new();
    while !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
        tokens.push(parser.next_token().token);
    }
    tokens.retain(|token| !is_scope(token));
    if tokens.first().is_some_and(|name| text(name).eq_ignore_ascii_case("search_path")) {
        return Ok(search_path(&tokens));
    }
    // MySQL's drivers set several in one statement; one of them may be the time zone.
    for assignment in tokens.split(|token| *token == Token::Comma) {
        if let Some(zone) = time_zone(assignment)? {
            return Ok(Setting::TimeZone(zone));
        }
    }
    Ok(Setting::Ignored)
}

fn text(token: &Token) -> String {
    match token {
        Token::Word(word) => word.value.clone(),
        Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_scope(token: &Token) -> bool {
    matches!(token, Token::Word(word) if ["session", "local", "global", "@@session", "@@global", "@@local"]
        .contains(&word.value.to_lowercase().as_str()))
        || *token == Token::Period
}

fn is_assign(token: &Token) -> bool {
    matches!(token, Token::Eq | Token::Assignment) || matches!(token, Token::Word(word) if word.keyword == Keyword::TO)
}

/// The words that follow `name =`, `name TO` or `name := `.
fn value(assignment: &[Token]) -> String {
    match assignment {
        [_, assign, value @ ..] if is_assign(assign) => value.iter().map(text).collect(),
        _ => String::new(),
    }
}

/// A search path may name several databases; the first one is entered.
fn search_path(tokens: &[Token]) -> Setting {
    let value = value(tokens);
    let first = value.split(',').next().unwrap_or_default().trim();
    if first.is_empty() || first.contains('$') { Setting::Ignored } else { Setting::Database(first.to_owned()) }
}

/// The time zone that an assignment sets, if it sets one.
fn time_zone(assignment: &[Token]) -> Result<Option<String>> {
    let name = assignment.first().map(|name| text(name).to_lowercase()).unwrap_or_default();
    let value = match (name.trim_start_matches("@@"), assignment.get(1)) {
        ("time", Some(Token::Word(zone))) if zone.value.eq_ignore_ascii_case("zone") => {
            assignment[2..].iter().map(text).collect()
        }
        ("time" | "time_zone" | "timezone", _) => value(assignment),
        _ => return Ok(None),
    };
    // A variable of the client's: dumps keep the old zone in one and set it again at their end.
    if value.is_empty() || value.starts_with('@') {
        return Ok(None);
    }
    let is_default = ["default", "system", "local"].iter().any(|name| value.eq_ignore_ascii_case(name));
    if is_default { Ok(Some("UTC".to_owned())) } else { Zone::check(&value).map(Some) }
}
