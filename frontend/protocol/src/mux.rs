//! Which protocols answer on which port.

#[cfg(test)]
mod tests;

use tokio::net::TcpListener;
use varve_service::task::TaskSet;

use crate::http::{App, HttpSetup, admin, listen, sql};
use crate::influx;

/// Starts the HTTP server with every HTTP protocol; returns at once and ends with the task set.
pub fn serve_http(listener: TcpListener, setup: HttpSetup, tasks: TaskSet) {
    let app = App::new(setup, tasks);
    let routes = admin::routes().merge(sql::routes()).merge(influx::serve::routes(&app));
    listen::serve(listener, routes, app);
}
