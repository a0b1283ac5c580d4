//! SHOW in the forms of GreptimeDB, MySQL and PostgreSQL.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use varve_model::{Error, Result};

use super::ast::{Show, ShowFilter};
use super::depth;
use super::parse::{database, expected, name, skip, skip_statement, syntax, word, words};

mod fixed;

use fixed::server;

pub(super) fn parse(parser: &mut Parser<'_>) -> Result<Show> {
    skip(parser, 1);
    let full = words(parser, &["FULL"]);
    let _ = words(parser, &["SESSION"]) || words(parser, &["GLOBAL"]) || words(parser, &["EXTENDED"]);
    if words(parser, &["TABLE", "STATUS"]) {
        let database = in_clause(parser).then(|| database(parser)).transpose()?;
        return Ok(Show::TableStatus { database, filter: filter(parser)? });
    }
    if let Some(show) = server(parser)? {
        return Ok(show);
    }
    let Some(kind) = word(parser, 0) else { return Err(expected("something to show", parser)) };
    match kind.as_str() {
        "DATABASES" | "SCHEMAS" => {
            skip(parser, 1);
            Ok(Show::Databases { full, filter: filter(parser)? })
        }
        "TABLES" => {
            skip(parser, 1);
            let database = in_clause(parser).then(|| database(parser)).transpose()?;
            Ok(Show::Tables { full, database, filter: filter(parser)? })
        }
        "COLUMNS" | "FIELDS" => {
            skip(parser, 1);
            Ok(Show::Columns { full, table: table_in(parser)?, filter: filter(parser)? })
        }
        "INDEX" | "INDEXES" | "KEYS" => {
            skip(parser, 1);
            let table = table_in(parser)?;
            Ok(Show::Index { table, filter: filter(parser)? })
        }
        "CREATE" => {
            skip(parser, 1);
            if words(parser, &["TABLE"]) {
                Ok(Show::CreateTable(name(parser)?))
            } else if words(parser, &["DATABASE"]) || words(parser, &["SCHEMA"]) {
                words(parser, &["IF", "NOT", "EXISTS"]);
                Ok(Show::CreateDatabase(database(parser)?))
            } else {
                Err(Error::unsupported(format!("SHOW CREATE {} is not supported", word(parser, 0).unwrap_or_default())))
            }
        }
        "VARIABLES" => {
            skip(parser, 1);
            Ok(Show::Variables { name: None, filter: filter(parser)? })
        }
        "PROCESSLIST" => processes(parser, full),
        "GRANTS" => {
            skip_statement(parser);
            Ok(Show::Grants)
        }
        "FUNCTIONS" | "REGION" | "PARTITIONS" => Err(Error::unsupported(format!("SHOW {kind} is not supported"))),
        _ => Ok(variable(parser)),
    }
}

fn processes(parser: &mut Parser<'_>, full: bool) -> Result<Show> {
    skip(parser, 1);
    Ok(Show::Processes { full, filter: filter(parser)? })
}

/// `SHOW name` as PostgreSQL has it, with its names of several words.
fn variable(parser: &mut Parser<'_>) -> Show {
    let mut parts = Vec::new();
    while let Token::Word(word) = &parser.peek_token_ref().token {
        parts.push(word.value.to_lowercase());
        skip(parser, 1);
        if parser.consume_token(&Token::Period) {
            parts.push(".".to_owned());
        }
    }
    let name = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["time", "zone"] => "timezone".to_owned(),
        ["transaction", "isolation", "level"] => "transaction_isolation".to_owned(),
        _ => parts.concat(),
    };
    Show::Variables { name: Some(name), filter: ShowFilter::All }
}

fn in_clause(parser: &mut Parser<'_>) -> bool {
    parser.parse_one_of_keywords(&[Keyword::FROM, Keyword::IN]).is_some()
}

/// `FROM t [FROM db]`.
fn table_in(parser: &mut Parser<'_>) -> Result<super::Name> {
    if !in_clause(parser) {
        return Err(expected("FROM", parser));
    }
    let mut table = name(parser)?;
    if in_clause(parser) {
        table.database = Some(database(parser)?);
    }
    Ok(table)
}

fn filter(parser: &mut Parser<'_>) -> Result<ShowFilter> {
    if parser.parse_keyword(Keyword::LIKE) {
        return parser.parse_literal_string().map(ShowFilter::Like).map_err(syntax);
    }
    if parser.parse_keyword(Keyword::WHERE) {
        let condition = parser.parse_expr().map_err(syntax)?;
        depth::check_relations(&condition)?;
        return Ok(ShowFilter::Where(Box::new(condition)));
    }
    Ok(ShowFilter::All)
}
