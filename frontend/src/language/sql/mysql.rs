//! SQL as MySQL's clients write it: backslash escapes, `?` for parameters, comments that run.
//!
//! Its drivers put backslashes before quotes in texts that they build. Read by
//! other rules such a text ends early, and what follows is run: the rules must be
//! the ones that the drivers count on. Names keep varve's rules on every wire:
//! folded unless quoted, by double quotes or backticks.

use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};

/// What the tokenizer asks; the parser has its own dialect.
#[derive(Debug)]
struct Writing;

impl Dialect for Writing {
    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_multiline_comment_hints(&self) -> bool {
        true
    }
}

/// The tokens of a text, its parameters numbered in their order.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let mut tokens = Tokenizer::new(&Writing, text).tokenize_with_location()?;
    let mut number = 0;
    for token in &mut tokens {
        if let Token::Placeholder(name) = &mut token.token
            && name == "?"
        {
            number += 1;
            *name = format!("${number}");
        }
    }
    Ok(without_calls(tokens))
}

/// `USER()` as the parser knows it: these are words without parentheses in the standard.
fn without_calls(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut kept = Vec::<TokenWithSpan>::with_capacity(tokens.len());
    for token in tokens {
        let closes = token.token == Token::RParen
            && matches!(&kept[..], [.., word, open] if open.token == Token::LParen && is_user(&word.token));
        if closes {
            kept.pop();
        } else {
            kept.push(token);
        }
    }
    kept
}

fn is_user(token: &Token) -> bool {
    let names = ["user", "current_user", "session_user"];
    matches!(token, Token::Word(word) if word.quote_style.is_none()
        && names.iter().any(|name| word.value.eq_ignore_ascii_case(name)))
}
