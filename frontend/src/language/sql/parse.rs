//! Text to statements.
//!
//! All statements of a text are parsed before the first one runs, so that a
//! syntax error in the last one has no effect.

use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName, SetExpr, TableFactor, TableObject};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError, ParserOptions};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, TokenizerError};
use varve_model::limits::SQL_TEXT_BYTES_MAX;
use varve_model::{Error, Reason, Result};
use varve_proto::metasrv::RegionAction;
use varve_query::zone::Zone;

use super::ast::{Delete, Drop, Insert, InsertSource, Name, Statement};
use super::literal::unquote_values;
use super::{alter, create, depth, kill, mysql, set, show};

/// Depth of what opens to the right, so that no text overflows the stack; `depth` bounds what opens to the left.
const DEPTH_MAX: usize = 128;

/// Statements of a text. Errors: `Syntax`, `Unsupported`, `TooLarge`.
pub(crate) fn parse(text: &str, zone: Zone) -> Result<Vec<Statement>> {
    check_size(text)?;
    let tokens = Tokenizer::new(&GenericDialect, text).tokenize_with_location();
    statements(tokens.map_err(tokenizing)?, zone)
}

/// Statements of a text that follows MySQL's rules. Errors: as [`parse`].
pub(crate) fn parse_mysql(text: &str, zone: Zone) -> Result<Vec<Statement>> {
    check_size(text)?;
    statements(mysql::tokens(text).map_err(tokenizing)?, zone)
}

fn check_size(text: &str) -> Result<()> {
    if text.len() <= SQL_TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the SQL text is longer than {SQL_TEXT_BYTES_MAX} bytes");
    Err(Error::invalid(message).with_reason(Reason::TooLarge))
}

fn parser() -> Parser<'static> {
    Parser::new(&GenericDialect)
        .with_recursion_limit(DEPTH_MAX)
        .with_options(ParserOptions::new().with_trailing_commas(true))
}

fn statements(tokens: Vec<TokenWithSpan>, zone: Zone) -> Result<Vec<Statement>> {
    depth::check_tokens(&tokens)?;
    let mut parser = parser().with_tokens_with_locations(tokens);
    let mut statements = Vec::new();
    loop {
        while parser.consume_token(&Token::SemiColon) {}
        if parser.peek_token_ref().token == Token::EOF {
            return Ok(statements);
        }
        statements.push(statement(&mut parser, zone)?);
        let next = parser.peek_token_ref();
        if !matches!(next.token, Token::SemiColon | Token::EOF) {
            return Err(expected("end of statement", &parser));
        }
    }
}

fn statement(parser: &mut Parser<'_>, zone: Zone) -> Result<Statement> {
    let first = word(parser, 0).unwrap_or_default();
    match first.as_str() {
        "CREATE" => create::parse(parser, zone),
        "ALTER" => alter::parse(parser, zone),
        "DROP" => drop_statement(parser),
        "TRUNCATE" => {
            skip(parser, 1);
            let _ = parser.parse_keyword(Keyword::TABLE);
            Ok(Statement::Truncate(name(parser)?))
        }
        "SHOW" => show::parse(parser).map(Statement::Show),
        "DESC" | "DESCRIBE" => {
            skip(parser, 1);
            let _ = parser.parse_keyword(Keyword::TABLE);
            Ok(Statement::Describe(name(parser)?))
        }
        "USE" => {
            skip(parser, 1);
            Ok(Statement::Use(database(parser)?))
        }
        "SET" => set::parse(parser).map(Statement::Set),
        "EXPLAIN" => explain(parser),
        "INSERT" | "REPLACE" => insert(parser),
        "DELETE" => delete(parser),
        "ADMIN" => admin(parser),
        "KILL" => kill::parse(parser).map(Statement::Kill),
        "BEGIN" | "COMMIT" | "ROLLBACK" | "START" | "END" | "SAVEPOINT" | "RELEASE" | "ABORT" | "DISCARD" => {
            Ok(transaction(parser, &first))
        }
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "FROM" => query(parser),
        "" if parser.peek_token_ref().token == Token::LParen => query(parser),
        "TQL" => Err(Error::unsupported("TQL is not supported yet")),
        "UPDATE" | "COPY" | "PREPARE" | "EXECUTE" | "DEALLOCATE" | "DECLARE" | "FETCH" | "CLOSE" | "GRANT"
        | "REVOKE" | "MERGE" | "CALL" | "ANALYZE" | "VACUUM" | "LOCK" | "LISTEN" => {
            Err(Error::unsupported(format!("{first} is not supported")))
        }
        _ => Err(expected("an SQL statement", parser)),
    }
}

fn query(parser: &mut Parser<'_>) -> Result<Statement> {
    let query = parser.parse_query().map_err(syntax)?;
    depth::check_relations(&query)?;
    match &*query.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Err(Error::unsupported("a statement that writes cannot be part of a query"))
        }
        _ => Ok(kill::of_query(&query).map_or(Statement::Query(query), Statement::Kill)),
    }
}

fn explain(parser: &mut Parser<'_>) -> Result<Statement> {
    skip(parser, 1);
    let analyze = parser.parse_keyword(Keyword::ANALYZE);
    let verbose = parser.parse_keyword(Keyword::VERBOSE);
    if parser.parse_keyword(Keyword::FORMAT) {
        return Err(Error::unsupported("EXPLAIN FORMAT is not supported"));
    }
    match query(parser)? {
        Statement::Query(query) => Ok(Statement::Explain { analyze, verbose, query }),
        _ => Err(Error::unsupported("EXPLAIN is for queries")),
    }
}

fn insert(parser: &mut Parser<'_>) -> Result<Statement> {
    let ast::Statement::Insert(insert) = parser.parse_statement().map_err(syntax)? else {
        return Err(expected("INSERT", parser));
    };
    let TableObject::TableName(table) = &insert.table else {
        return Err(Error::unsupported("INSERT into something else than a table"));
    };
    if insert.on.is_some() || insert.returning.is_some() || !insert.assignments.is_empty() {
        return Err(Error::unsupported("INSERT with ON CONFLICT, RETURNING or SET"));
    }
    let source = insert.source.ok_or_else(|| Error::invalid("INSERT without rows").with_reason(Reason::Syntax))?;
    depth::check_relations(&source)?;
    let source = match *source.body {
        SetExpr::Values(values) if source.with.is_none() && source.order_by.is_none() => {
            let rows = values.rows.into_iter().map(|row| unquote_values(row.content)).collect();
            InsertSource::Values(rows)
        }
        _ => InsertSource::Query(source),
    };
    let columns = insert.columns.iter().map(last_ident).collect::<Result<_>>()?;
    Ok(Statement::Insert(Box::new(Insert { table: table_name(table)?, columns, source })))
}

fn delete(parser: &mut Parser<'_>) -> Result<Statement> {
    let ast::Statement::Delete(delete) = parser.parse_statement().map_err(syntax)? else {
        return Err(expected("DELETE", parser));
    };
    let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
    let [from] = &from[..] else { return Err(Error::unsupported("DELETE from several tables")) };
    let TableFactor::Table { name, .. } = &from.relation else {
        return Err(Error::unsupported("DELETE from something else than a table"));
    };
    let plain = from.joins.is_empty()
        && delete.using.is_none()
        && delete.returning.is_none()
        && delete.order_by.is_empty()
        && delete.limit.is_none();
    if !plain {
        return Err(Error::unsupported("DELETE with joins, USING, RETURNING, ORDER BY or LIMIT"));
    }
    depth::check_relations(&delete.selection)?;
    Ok(Statement::Delete(Box::new(Delete { table: table_name(name)?, condition: delete.selection })))
}

fn drop_statement(parser: &mut Parser<'_>) -> Result<Statement> {
    skip(parser, 1);
    let kind = parser.next_token().to_string().to_uppercase();
    match kind.as_str() {
        "TABLE" => {
            let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
            let mut names = vec![name(parser)?];
            while parser.consume_token(&Token::Comma) {
                names.push(name(parser)?);
            }
            Ok(Statement::Drop(Drop::Tables { names, if_exists }))
        }
        "DATABASE" | "SCHEMA" => {
            let if_exists = parser.parse_keywords(&[Keyword::IF, Keyword::EXISTS]);
            Ok(Statement::Drop(Drop::Database { name: database(parser)?, if_exists }))
        }
        other => Err(Error::unsupported(format!("DROP {other} is not supported"))),
    }
}

fn admin(parser: &mut Parser<'_>) -> Result<Statement> {
    skip(parser, 1);
    let function = ident(&parser.parse_identifier().map_err(syntax)?);
    parser.expect_token(&Token::LParen).map_err(syntax)?;
    let argument = parser.parse_literal_string().map_err(syntax)?;
    parser.expect_token(&Token::RParen).map_err(syntax)?;
    let action = match function.as_str() {
        "flush_table" => RegionAction::Flush,
        "compact_table" => RegionAction::Compact,
        other => return Err(Error::unsupported(format!("ADMIN {other} is not supported"))),
    };
    Ok(Statement::Admin { function, action, table: argument })
}

fn transaction(parser: &mut Parser<'_>, first: &str) -> Statement {
    skip_statement(parser);
    Statement::Transaction(match first {
        "BEGIN" => "BEGIN",
        "START" => "START TRANSACTION",
        "ROLLBACK" | "ABORT" => "ROLLBACK",
        "SAVEPOINT" => "SAVEPOINT",
        "RELEASE" => "RELEASE",
        "DISCARD" => "DISCARD ALL",
        _ => "COMMIT",
    })
}

fn tokenizing(error: TokenizerError) -> Error {
    syntax(error.into())
}

/// The parser's error as ours.
pub(super) fn syntax(error: ParserError) -> Error {
    let text = match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
        ParserError::RecursionLimitExceeded => format!("nested deeper than {DEPTH_MAX}"),
    };
    Error::invalid(text).with_reason(Reason::Syntax)
}

/// "expected X, found Y at ..".
pub(super) fn expected(what: &str, parser: &Parser<'_>) -> Error {
    let found = parser.peek_token_ref();
    let start = found.span.start;
    let place =
        if start.line == 0 { String::new() } else { format!(" at line {}, column {}", start.line, start.column) };
    Error::invalid(format!("expected {what}, found {found}{place}")).with_reason(Reason::Syntax)
}

/// The word at the n-th next token, in upper case.
pub(super) fn word(parser: &Parser<'_>, n: usize) -> Option<String> {
    match &parser.peek_nth_token_ref(n).token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_uppercase()),
        _ => None,
    }
}

/// Consumes these words if they come next, in any case.
pub(super) fn words(parser: &mut Parser<'_>, expected: &[&str]) -> bool {
    let all = expected.iter().enumerate().all(|(n, expected)| word(parser, n).is_some_and(|word| word == *expected));
    if all {
        skip(parser, expected.len());
    }
    all
}

pub(super) fn skip(parser: &mut Parser<'_>, tokens: usize) {
    for _ in 0..tokens {
        parser.next_token();
    }
}

/// Consumes the rest of the statement.
pub(super) fn skip_statement(parser: &mut Parser<'_>) {
    while !matches!(parser.peek_token_ref().token, Token::SemiColon | Token::EOF) {
        parser.next_token();
    }
}

/// A name as the catalog knows it: folded to lower case unless quoted.
pub(crate) fn ident(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// A database's name; a catalog before it is accepted.
pub(super) fn database(parser: &mut Parser<'_>) -> Result<String> {
    let name = parser.parse_object_name(false).map_err(syntax)?;
    last_ident(&name)
}

/// A table's name.
pub(super) fn name(parser: &mut Parser<'_>) -> Result<Name> {
    table_name(&parser.parse_object_name(false).map_err(syntax)?)
}

/// `t`, `db.t` or `catalog.db.t`.
pub(super) fn table_name(name: &ObjectName) -> Result<Name> {
    let mut parts = idents(name)?;
    let table = parts.pop().ok_or_else(|| Error::invalid("a table needs a name").with_reason(Reason::Syntax))?;
    if parts.len() > 2 {
        return Err(Error::invalid(format!("'{name}' has too many parts for a table")).with_reason(Reason::Syntax));
    }
    Ok(Name { database: parts.pop(), table })
}

fn last_ident(name: &ObjectName) -> Result<String> {
    idents(name)?.pop().ok_or_else(|| Error::invalid("a name is missing").with_reason(Reason::Syntax))
}

fn idents(name: &ObjectName) -> Result<Vec<String>> {
    let part = |part: &ast::ObjectNamePart| {
        part.as_ident()
            .map(ident)
            .ok_or_else(|| Error::invalid(format!("'{name}' is not a plain name")).with_reason(Reason::Syntax))
    };
    name.0.iter().map(part).collect()
}
