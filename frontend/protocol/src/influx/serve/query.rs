//! `/query`, as far as writing clients need it: CREATE, DROP and SHOW DATABASES.
//!
//! InfluxDB parses the whole text first, so a syntax error runs nothing; from
//! then on the status is 200 and errors stand inside the results.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use varve_model::{Error, ErrorKind, Result};

use super::write::database_names;
use crate::gateway::Query;
use crate::http::params::Params;
use crate::http::{App, body, reply};
use crate::influx::outcome::{self, Failure};
use crate::influx::precision::Api;
use crate::session::Session;

const VERBS: [&str; 11] =
    ["SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE", "ALTER", "SET", "KILL"];

/// Bytes of a text: each of its statements has a result, which takes more memory than it.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// A statement of InfluxQL.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Statement {
    Create {
        database: String,
        ttl: Option<String>,
    },
    Drop {
        database: String,
    },
    Show,
    /// Valid InfluxQL, as far as we look, and not offered.
    Other(String),
}

pub(super) async fn run(State(app): State<App>, request: Request<Body>) -> Response {
    let method = request.method().clone();
    match answer(&app, request, &method).await {
        Ok(results) => reply::json(StatusCode::OK, &json!({"results": results})),
        Err(found) => super::failure(Api::V1, &found),
    }
}

async fn answer(app: &App, request: Request<Body>, method: &Method) -> Result<Vec<Value>, Failure> {
    let refuse = |error: Error| outcome::of_error(Api::V1, &error);
    let (params, headers) = Params::of(app, request).await.map_err(refuse)?;
    let text = params.get("q").ok_or_else(|| Failure::invalid("missing required parameter \"q\""))?;
    if text.len() > TEXT_BYTES_MAX {
        return Err(refuse(body::too_large(format!("InfluxQL text is longer than {TEXT_BYTES_MAX} bytes"))));
    }
    let session = super::session(app, &headers, &params).map_err(refuse)?;
    let statements = parse(text).map_err(Failure::invalid)?;
    let mut results = Vec::new();
    let mut failed = false;
    for (id, statement) in statements.iter().enumerate() {
        let mut result = if failed {
            json!({"error": "not executed"})
        } else {
            execute(app, &session, statement).await.unwrap_or_else(|error| {
                failed = true;
                if error.kind() == ErrorKind::Internal {
                    tracing::error!(?error, "InfluxQL statement failed");
                }
                json!({"error": error.message()})
            })
        };
        result["statement_id"] = json!(id);
        if *method == Method::GET && matches!(statement, Statement::Create { .. } | Statement::Drop { .. }) {
            let verb = if matches!(statement, Statement::Drop { .. }) { "DROP DATABASE" } else { "CREATE DATABASE" };
            let text = format!("deprecated use of '{verb}' in a read only context, please use a POST request instead");
            result["messages"] = json!([{"level": "warning", "text": text}]);
        }
        results.push(result);
    }
    Ok(results)
}

async fn execute(app: &App, session: &Session, statement: &Statement) -> Result<Value> {
    let quoted = |name: &str| name.replace('"', "\"\"");
    let text = match statement {
        Statement::Show => {
            let names = database_names(app, session).await?.into_iter().map(|name| json!([name])).collect::<Vec<_>>();
            let mut series = json!({"name": "databases", "columns": ["name"]});
            if !names.is_empty() {
                series["values"] = Value::Array(names);
            }
            return Ok(json!({"series": [series]}));
        }
        Statement::Create { database, ttl: None } => format!("CREATE DATABASE IF NOT EXISTS \"{}\"", quoted(database)),
        Statement::Create { database, ttl: Some(ttl) } => {
            format!("CREATE DATABASE IF NOT EXISTS \"{}\" WITH (ttl = '{ttl}')", quoted(database))
        }
        Statement::Drop { database } => format!("DROP DATABASE IF EXISTS \"{}\"", quoted(database)),
        Statement::Other(verb) => {
            return Err(Error::unsupported(format!(
                "InfluxQL statement {verb} is not supported yet; use SQL at /v1/sql"
            )));
        }
    };
    let query = Query::Sql { text, params: Vec::new() };
    app.within(session.timeout, app.setup.gateway.run(&session.next(), query)).await?;
    Ok(json!({}))
}

/// A word, a quoted identifier, or a punctuation mark, with its place from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    quoted: bool,
    at: usize,
}

impl Token {
    fn is(&self, keyword: &str) -> bool {
        !self.quoted && self.text.eq_ignore_ascii_case(keyword)
    }
}

fn tokens(text: &str) -> Vec<Token> {
    let letters = text.chars().collect::<Vec<_>>();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < letters.len() {
        let start = at;
        match letters[at] {
            letter if letter.is_whitespace() => at += 1,
            quote @ ('"' | '\'') => {
                let mut word = String::new();
                at += 1;
                while at < letters.len() && letters[at] != quote {
                    if letters[at] == '\\' && at + 1 < letters.len() {
                        at += 1;
                    }
                    word.push(letters[at]);
                    at += 1;
                }
                at += 1;
                // A single-quoted text is no identifier; its quote makes it match nothing.
                let word = if quote == '\'' { format!("'{word}'") } else { word };
                tokens.push(Token { text: word, quoted: true, at: start + 1 });
            }
            letter if letter.is_alphanumeric() || letter == '_' => {
                while at < letters.len() && (letters[at].is_alphanumeric() || letters[at] == '_') {
                    at += 1;
                }
                tokens.push(Token { text: letters[start..at].iter().collect(), quoted: false, at: start + 1 });
            }
            letter => {
                at += 1;
                tokens.push(Token { text: letter.to_string(), quoted: false, at: start + 1 });
            }
        }
    }
    tokens
}

/// The statements of a text. Errors: InfluxDB's text of the first syntax error.
fn parse(text: &str) -> Result<Vec<Statement>, String> {
    let tokens = tokens(text);
    let end = text.chars().count() + 1;
    tokens.split(|token| token.is(";")).filter(|words| !words.is_empty()).map(|words| statement(words, end)).collect()
}

fn statement(words: &[Token], end: usize) -> Result<Statement, String> {
    let expected = |at: usize, what: &str| {
        let (found, place) = words.get(at).map_or(("EOF", end), |token| (token.text.as_str(), token.at));
        format!("error parsing query: found {found}, expected {what} at line 1, char {place}")
    };
    let Some(verb) = VERBS.iter().find(|verb| words[0].is(verb)) else {
        return Err(expected(0, &VERBS.join(", ")));
    };
    let second_is = |keyword: &str| words.get(1).is_some_and(|token| token.is(keyword));
    match *verb {
        "SHOW" if second_is("DATABASES") => match words.len() {
            2 => Ok(Statement::Show),
            _ => Err(expected(2, ";, EOF")),
        },
        "CREATE" | "DROP" if second_is("DATABASE") => {
            let name = words.get(2).filter(|token| {
                token.text.starts_with(|l: char| l != '\'' && (token.quoted || l.is_alphabetic() || l == '_'))
            });
            let database = name.ok_or_else(|| expected(2, "identifier"))?.text.clone();
            if *verb == "DROP" {
                return if words.len() == 3 { Ok(Statement::Drop { database }) } else { Err(expected(3, ";, EOF")) };
            }
            let ttl = policy(&words[3..]).map_err(|at| expected(3 + at, "DURATION, NAME, REPLICATION, SHARD"))?;
            Ok(Statement::Create { database, ttl })
        }
        "SHOW" | "CREATE" | "DROP" | "EXPLAIN" if words.len() > 1 => {
            Ok(Statement::Other(format!("{verb} {}", words[1].text.to_uppercase())))
        }
        _ => Ok(Statement::Other((*verb).to_owned())),
    }
}

/// The duration in `WITH DURATION d REPLICATION n SHARD DURATION d NAME x`; the rest has no meaning here.
/// Errors: the place of the first word that does not fit.
fn policy(words: &[Token]) -> Result<Option<String>, usize> {
    if words.is_empty() {
        return Ok(None);
    }
    if !words[0].is("WITH") || words.len() == 1 {
        return Err(usize::from(words[0].is("WITH")));
    }
    let mut ttl = None;
    let mut at = 1;
    while at < words.len() {
        let shard = words[at].is("SHARD");
        at += usize::from(shard);
        let (Some(word), Some(value)) = (words.get(at), words.get(at + 1)) else { return Err(words.len()) };
        if word.is("DURATION") {
            let forever = value.is("INF") || value.text.starts_with('0');
            if !shard && !forever {
                ttl = Some(value.text.clone()).filter(|text| text.chars().all(char::is_alphanumeric));
            }
        } else if !(word.is("REPLICATION") || word.is("NAME")) {
            return Err(at);
        }
        at += 2;
    }
    Ok(ttl)
}
