//! CREATE, ALTER, DROP, TRUNCATE: procedures of metasrv.

use varve_model::schema::NewColumn;
use varve_model::table::Ttl;
use varve_model::{Error, ErrorKind, Reason, Result, name};
use varve_proto::metasrv::{self, Procedure, RegionAction, TableChange};
use varve_protocol::output::Output;

use super::{Conductor, Scope, count, full_name, table_of};
use crate::language::sql::{AlterAction, CreateDatabase, CreateTable, Drop, Name, set_option, unset_option};

impl Conductor {
    pub(super) async fn create_database(&self, scope: &Scope, create: CreateDatabase) -> Result<Output> {
        let CreateDatabase { name, if_not_exists, ttl, regions } = create;
        name::check_database(&name)?;
        let procedure = Procedure::CreateDatabase { name, ttl, regions: regions.unwrap_or(1), if_not_exists };
        let changed = self.execute(scope, procedure).await?;
        Ok(count("CREATE DATABASE", u64::from(changed)))
    }

    pub(super) async fn alter_database(&self, scope: &Scope, database: String, ttl: Option<Ttl>) -> Result<Output> {
        self.execute(scope, Procedure::AlterDatabase { name: database, ttl }).await?;
        Ok(count("ALTER DATABASE", 0))
    }

    pub(super) async fn create_table(&self, scope: &Scope, create: CreateTable) -> Result<Output> {
        let CreateTable { name, if_not_exists, columns, primary_key, options, regions } = create;
        let table = full_name(scope, name);
        self.feed.view().database(&table.database)?;
        name::check_table(&table.table)?;
        columns.iter().try_for_each(|column| name::check_column(&column.name))?;
        let create = metasrv::CreateTable { table, columns, primary_key, options, regions, if_not_exists };
        self.execute(scope, Procedure::CreateTable(create)).await?;
        Ok(count("CREATE TABLE", 0))
    }

    pub(super) async fn alter_table(&self, scope: &Scope, table: Name, actions: Vec<AlterAction>) -> Result<Output> {
        for action in actions {
            let view = self.feed.view();
            let known = table_of(scope, &view, &table)?;
            let change = match action {
                AlterAction::AddColumns { columns, if_not_exists } => {
                    let fresh = |column: &NewColumn| !if_not_exists || known.column(&column.name).is_none();
                    let columns = columns.into_iter().filter(fresh).collect::<Vec<_>>();
                    if columns.is_empty() {
                        continue;
                    }
                    TableChange::AddColumns(columns)
                }
                AlterAction::DropColumn(column) => TableChange::DropColumn(column),
                AlterAction::Rename(name) => TableChange::Rename(name),
                AlterAction::SetOptions(pairs) => {
                    let mut options = known.info.options.clone();
                    pairs.iter().try_for_each(|(key, value)| set_option(&mut options, key, value))?;
                    TableChange::SetOptions(options)
                }
                AlterAction::UnsetOptions(keys) => {
                    let mut options = known.info.options.clone();
                    keys.iter().try_for_each(|key| unset_option(&mut options, key))?;
                    TableChange::SetOptions(options)
                }
            };
            let procedure = Procedure::AlterTable { table: full_name(scope, table.clone()), change };
            self.execute(scope, procedure).await?;
        }
        Ok(count("ALTER TABLE", 0))
    }

    pub(super) async fn drop(&self, scope: &Scope, drop: Drop) -> Result<Output> {
        match drop {
            Drop::Tables { names, if_exists } => {
                let view = self.feed.view();
                // All or none: a missing one keeps the others.
                let missing = names.iter().find_map(|name| table_of(scope, &view, name).err());
                if let (Some(error), false) = (missing, if_exists) {
                    return Err(error);
                }
                for name in names {
                    let procedure = Procedure::DropTable { table: full_name(scope, name), if_exists };
                    match self.execute(scope, procedure).await {
                        Err(error) if if_exists && error.kind() == ErrorKind::NotFound => {}
                        outcome => {
                            outcome?;
                        }
                    }
                }
                Ok(count("DROP TABLE", 0))
            }
            Drop::Database { name, .. } if name == name::DEFAULT_DATABASE => {
                Err(Error::invalid(format!("database '{name}' cannot be dropped")).with_reason(Reason::Database))
            }
            Drop::Database { name, if_exists } => {
                self.execute(scope, Procedure::DropDatabase { name, if_exists }).await?;
                Ok(count("DROP DATABASE", 0))
            }
        }
    }

    pub(super) async fn truncate(&self, scope: &Scope, table: Name) -> Result<Output> {
        table_of(scope, &self.feed.view(), &table)?;
        let table = full_name(scope, table);
        self.execute(scope, Procedure::EachRegion { table, action: RegionAction::Truncate }).await?;
        Ok(count("TRUNCATE TABLE", 0))
    }
}
