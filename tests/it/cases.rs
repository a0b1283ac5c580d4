//! Every case under tests/cases/sql: in process with one region, over gRPC with
//! three, and on a cluster, each from memory and with a flush after every write.

use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};
use varve::standalone::Adapter;

use crate::kit::{Door, Varve};

/// Where rows are when a query runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    InMemory,
    InFiles,
}

/// One client of one database.
struct Client {
    varve: Door,
    database: String,
    rows: Rows,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Failed(String);

impl Client {
    async fn flush_all(&self) -> Result<(), Failed> {
        let (_, reply) = self.varve.sql_in(&self.database, "SHOW TABLES").await;
        for row in reply["output"][0]["records"]["rows"].as_array().into_iter().flatten() {
            let table = row[0].as_str().unwrap_or_default();
            let (status, reply) = self.varve.sql_in(&self.database, &format!("ADMIN flush_table('{table}')")).await;
            if status != 200 {
                return Err(Failed(format!("flush {table}: {reply}")));
            }
        }
        Ok(())
    }
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) if text.is_empty() => "(empty)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[async_trait]
impl sqllogictest::AsyncDB for Client {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let (status, reply) = self.varve.sql_in(&self.database, sql).await;
        if status != 200 {
            return Err(Failed(reply["error"].as_str().unwrap_or("no text").to_owned()));
        }
        let output = &reply["output"][0];
        if let Some(rows) = output["affectedrows"].as_u64() {
            let writes = sql.trim_start().to_ascii_uppercase();
            if self.rows == Rows::InFiles && ["INSERT", "DELETE"].iter().any(|verb| writes.starts_with(verb)) {
                self.flush_all().await?;
            }
            return Ok(DBOutput::StatementComplete(rows));
        }
        let columns = output["records"]["schema"]["column_schemas"].as_array().map_or(0, Vec::len);
        let rows = output["records"]["rows"].as_array().cloned().unwrap_or_default();
        Ok(DBOutput::Rows {
            types: vec![DefaultColumnType::Any; columns],
            rows: rows.iter().map(|row| row.as_array().into_iter().flatten().map(cell).collect()).collect(),
        })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "varve"
    }
}

fn case_files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/sql");
    let files = crate::kit::files(&folder);
    assert!(!files.is_empty(), "no cases in {}", folder.display());
    files
}

async fn run_standalone(adapter: Adapter, regions: u32, rows: Rows) {
    let varve = Varve::start_with(adapter).await;
    run_all(&varve, "case", regions, rows).await;
}

/// Runs every case in a database of its own, whose name begins with `prefix`.
pub(crate) async fn run_all(varve: &Door, prefix: &str, regions: u32, rows: Rows) {
    let mut failures = Vec::new();
    for (number, file) in case_files().iter().enumerate() {
        let database = format!("{prefix}{number}");
        varve.run(&format!("CREATE DATABASE {database} WITH (regions = '{regions}')")).await;
        let mut runner =
            Runner::new(|| async { Ok(Client { varve: varve.clone(), database: database.clone(), rows }) });
        if let Err(error) = runner.run_file_async(file).await {
            failures.push(error.display(false).to_string());
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n\n"));
}

#[tokio::test]
async fn cases_pass_in_process_from_memory() {
    run_standalone(Adapter::InProcess, 1, Rows::InMemory).await;
}

#[tokio::test]
async fn cases_pass_in_process_from_files() {
    run_standalone(Adapter::InProcess, 1, Rows::InFiles).await;
}

#[tokio::test]
async fn cases_pass_over_grpc_with_three_regions_from_memory() {
    run_standalone(Adapter::Grpc, 3, Rows::InMemory).await;
}

#[tokio::test]
async fn cases_pass_over_grpc_with_three_regions_from_files() {
    run_standalone(Adapter::Grpc, 3, Rows::InFiles).await;
}
