//! Products.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;

use super::Central;
use super::document::{Relationships, Resource, SelfLink, created, many, one as show_one, time};
use super::error::ApiError;
use super::query::Asked;
use super::request::{self, Bearer, Document, Json};
use crate::fleet::Product;
use crate::store::Listed;

#[derive(Serialize)]
struct Attributes {
    name: String,
    description: String,
    created_at: String,
    updated_at: String,
}

pub(super) async fn list(State(central): State<Central>, _: Bearer, mut asked: Asked) -> Result<Response, ApiError> {
    asked.filters.only(&["owner.id"])?;
    let owner = asked.filters.id("owner.id");
    let listed = match asked.filters.nothing {
        true => Listed::empty(),
        false => central.store.products(owner, asked.paging.page).await?,
    };
    Ok(many(&asked.paging, listed, |product| show(&central, product)))
}

pub(super) async fn create(
    State(central): State<Central>,
    Bearer(caller): Bearer,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    data.expect("product")?;
    let owner = data.related("owner")?.unwrap_or(caller.account);
    let name = data.text("name")?.unwrap_or_default();
    let description = data.text("description")?.unwrap_or_default();
    Ok(created(show(&central, central.store.create_product(owner, caller.account, name, description).await?)))
}

pub(super) async fn one(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let product =
        central.store.product(request::id("product", &id)?).await?.ok_or_else(|| ApiError::not_found("product"))?;
    Ok(show_one(show(&central, product)))
}

pub(super) async fn update(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
    Json(Document { data }): Json<Document>,
) -> Result<Response, ApiError> {
    let id = request::id("product", &id)?;
    data.expect("product")?;
    let product = central.store.update_product(id, data.text("name")?, data.text("description")?).await?;
    Ok(show_one(show(&central, product)))
}

pub(super) async fn remove(
    State(central): State<Central>,
    _: Bearer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    central.store.delete_product(request::id("product", &id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn show(central: &Central, product: Product) -> Resource<Attributes> {
    Resource {
        kind: "product",
        id: product.id.to_string(),
        links: SelfLink { this: format!("{}/products/{}", central.base, product.id) },
        attributes: Attributes {
            name: product.name,
            description: product.description,
            created_at: time(product.created_ms),
            updated_at: time(product.updated_ms),
        },
        relationships: Relationships::default().with("owner", "account", product.owner).with(
            "creator",
            "account",
            product.creator,
        ),
    }
}
