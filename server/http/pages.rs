//! The pages (askama): placeholder until the templates are here.
use axum::Router;

use super::Shared;

pub fn router() -> Router<Shared> {
    Router::new()
}
