//! How deep a statement nests, looked at before the stack is used for it.
//!
//! The parser bounds what opens to the right, such as parentheses. A chain
//! (`a OR b OR c`, `SELECT .. UNION SELECT ..`, a list of joins) opens to the
//! left: it is read in a loop, and each link lies one level below the next.
//! Copying, comparing, planning and freeing such a tree call themselves once
//! per level, so it must not come to exist.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Select, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use varve_model::{Error, Reason, Result};

/// Links of a chain of operators, and of everything that chains in parentheses add to it.
pub(super) const OPERATORS_MAX: usize = 1000;
/// `UNION`, `EXCEPT` and `INTERSECT` of one statement.
pub(super) const SET_OPERATIONS_MAX: usize = 100;
/// Tables and subqueries of one statement: a plan may be as deep as they are many.
pub(super) const RELATIONS_MAX: usize = 120;

/// The depth of what was read at one level of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Of the expression that is being read. More than the parser makes of it where keywords part it, never less.
    now: usize,
    /// Of the deepest before it.
    before: usize,
}

impl Level {
    fn depth(self) -> usize {
        self.now.max(self.before)
    }
}

/// Errors: `Syntax` for a chain of more than [`OPERATORS_MAX`] or [`SET_OPERATIONS_MAX`].
pub(super) fn check_tokens(tokens: &[TokenWithSpan]) -> Result<()> {
    let (mut levels, mut level, mut set_operations) = (Vec::new(), Level::default(), 0);
    for token in tokens {
        match &token.token {
            Token::Whitespace(_) => {}
            Token::LParen | Token::LBracket | Token::LBrace => levels.push(std::mem::take(&mut level)),
            Token::RParen | Token::RBracket | Token::RBrace => {
                // What was in it is an operand, or a link as in `a[1][2]`.
                let inner = level.depth() + 1;
                level = levels.pop().unwrap_or_default();
                level.now = (level.now + 1).max(inner);
            }
            Token::Comma => level = Level { now: 0, before: level.depth() },
            Token::SemiColon => (level, set_operations) = (Level::default(), 0),
            token if is_operator(token) => level.now += 1,
            Token::Word(word) if is_set_operation(word.keyword) => set_operations += 1,
            _ => {}
        }
        if level.now > OPERATORS_MAX {
            return Err(too_deep(&format!("more than {OPERATORS_MAX} operators in a row"), "IN (..)"));
        }
        if set_operations > SET_OPERATIONS_MAX {
            return Err(too_deep(&format!("more than {SET_OPERATIONS_MAX} set operations"), "VALUES or OR"));
        }
    }
    Ok(())
}

/// Errors: `Syntax` for more than [`RELATIONS_MAX`].
pub(super) fn check_relations(tree: &impl Visit) -> Result<()> {
    match tree.visit(&mut Relations(0)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => {
            Err(too_deep(&format!("more than {RELATIONS_MAX} tables and subqueries"), "several statements"))
        }
    }
}

fn too_deep(what: &str, instead: &str) -> Error {
    Error::invalid(format!("the statement nests too deep: {what}"))
        .with_reason(Reason::Syntax)
        .with_hint(format!("{instead} may say the same"))
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::DIV
                | Keyword::OVERLAPS
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::OPERATOR
                | Keyword::MATCH
                | Keyword::MEMBER
                | Keyword::NOTNULL
        ),
        Token::EOF
        | Token::Number(..)
        | Token::Char(_)
        | Token::Placeholder(_)
        | Token::Period
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_) => false,
        // Punctuation that some dialect takes for an operator, and what is new to this list.
        _ => true,
    }
}

fn is_set_operation(keyword: Keyword) -> bool {
    matches!(keyword, Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS)
}

/// How many relations were seen.
struct Relations(usize);

impl Visitor for Relations {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let relations = select.from.iter().map(|table| 1 + table.joins.len()).sum::<usize>();
        // A common table or a subquery without tables is a level, too.
        self.0 += relations.max(1);
        if self.0 > RELATIONS_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
