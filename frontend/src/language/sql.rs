//! SQL: our own statements around DataFusion's queries.
//!
//! Queries are parsed by `sqlparser` and planned by DataFusion. The statements
//! that define or show something follow GreptimeDB's grammar, which no published
//! parser has, so they are parsed here on the same tokens.

mod alter;
mod ast;
mod create;
mod depth;
mod kill;
mod literal;
mod mysql;
mod options;
mod parse;
mod set;
mod show;
#[cfg(test)]
mod tests;
mod types;

pub(crate) use ast::{
    AlterAction, CreateDatabase, CreateTable, Delete, Drop, Insert, InsertSource, Kill, Name, Setting, Show,
    ShowFilter, Statement,
};
pub(crate) use literal::{Literal, convert, literal};
pub(crate) use options::{set as set_option, unset as unset_option};
pub(crate) use parse::{parse, parse_mysql};
