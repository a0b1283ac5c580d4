//! LIKE and WHERE of SHOW.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions_mut};

/// Whether a text matches a LIKE pattern; `%` any text, `_` any character, `\` takes the next as it is.
pub(super) fn like(pattern: &str, text: &str) -> bool {
    let pattern = pattern.chars().collect::<Vec<_>>();
    let text = text.chars().collect::<Vec<_>>();
    // Place in the pattern after the last `%`, and in the text where its match began.
    let (mut at, mut seen, mut retry) = (0, 0, None);
    while seen < text.len() {
        match pattern.get(at) {
            Some('%') => {
                retry = Some((at + 1, seen));
                at += 1;
                continue;
            }
            Some('\\') if pattern.get(at + 1) == Some(&text[seen]) => {
                (at, seen) = (at + 2, seen + 1);
                continue;
            }
            Some(&c) if c == '_' || (c == text[seen] && c != '\\') => {
                (at, seen) = (at + 1, seen + 1);
                continue;
            }
            _ => {}
        }
        let Some((after, began)) = retry else { return false };
        retry = Some((after, began + 1));
        (at, seen) = (after, began + 1);
    }
    pattern[at..].iter().all(|&c| c == '%')
}

/// Names in a condition as the sheet writes them, whatever their case.
pub(super) fn fold_names(mut condition: Expr, columns: &[String]) -> Expr {
    let _ = visit_expressions_mut(&mut condition, |expr| {
        if let Expr::Identifier(ident) = expr
            && let Some(column) = columns.iter().find(|column| column.eq_ignore_ascii_case(&ident.value))
        {
            *ident = Ident::with_quote('"', column.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    condition
}
