//! `shop`: a web shop's products and orders.

mod stock;

use std::sync::Mutex;

use rmcp::{
    ServerHandler,
    handler::server::{
        router::tool::ToolRouter,
        wrapper::{Json, Parameters},
    },
    model::{ServerConfig, Tool},
    tool, tool_handler, tool_router,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    served::{introduction, lock},
    shop::stock::{Order, Product, Stock},
};

/// The server.
pub(crate) struct Shop {
    stock: Mutex<Stock>,
    router: ToolRouter<Self>,
}

impl Shop {
    /// A fresh shop.
    pub(crate) fn new() -> Self {
        Self { stock: Mutex::new(Stock::new()), router: Self::tool_router() }
    }

    /// Its tools, as they are listed.
    pub(crate) fn tools() -> Vec<Tool> {
        Self::tool_router().list_all()
    }
}

#[tool_router]
impl Shop {
    #[tool(
        description = "Find the products whose name contains a text, up to a price.",
        annotations(title = "Search products", read_only_hint = true, open_world_hint = false)
    )]
    fn search_products(&self, Parameters(Search { text, max_price_cents }): Parameters<Search>) -> Json<Products> {
        let (stock, text) = (lock(&self.stock), text.to_lowercase());
        let fits = |product: &&Product| product.price_cents <= max_price_cents && product.name.to_lowercase().contains(&text);
        Json(Products { products: stock.products().iter().filter(fits).cloned().collect() })
    }

    #[tool(
        description = "Read one product: name, price and what is in stock.",
        annotations(title = "Get product", read_only_hint = true, open_world_hint = false)
    )]
    fn get_product(&self, Parameters(ProductId { sku }): Parameters<ProductId>) -> Result<Json<Product>, String> {
        Ok(Json(lock(&self.stock).product_mut(&sku)?.clone()))
    }

    #[tool(
        description = "List the orders that have a status.",
        annotations(title = "List orders", read_only_hint = true, open_world_hint = false)
    )]
    fn list_orders(&self, Parameters(ByStatus { status }): Parameters<ByStatus>) -> Json<Orders> {
        let stock = lock(&self.stock);
        Json(Orders { orders: stock.orders().iter().filter(|order| order.status == status).cloned().collect() })
    }

    #[tool(description = "Read one order.", annotations(title = "Get order", read_only_hint = true, open_world_hint = false))]
    fn get_order(&self, Parameters(OrderId { id }): Parameters<OrderId>) -> Result<Json<Order>, String> {
        Ok(Json(lock(&self.stock).order_mut(&id)?.clone()))
    }

    #[tool(
        description = "Order a product for a customer. Each call is a new order, and takes from the stock.",
        annotations(
            title = "Place order",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn place_order(&self, Parameters(Place { sku, quantity, customer }): Parameters<Place>) -> Result<Json<Order>, String> {
        lock(&self.stock).place(&sku, quantity, customer).map(Json)
    }

    #[tool(
        description = "Cancel an order that hasn't been shipped. The goods go back into stock.",
        annotations(title = "Cancel order", read_only_hint = false, destructive_hint = true, open_world_hint = false)
    )]
    fn cancel_order(&self, Parameters(OrderId { id }): Parameters<OrderId>) -> Result<Json<Order>, String> {
        lock(&self.stock).cancel(&id).map(Json)
    }

    #[tool(
        description = "Set the price of a product, for everyone and at once.",
        annotations(
            title = "Set price",
            read_only_hint = false,
            destructive_hint = true,
            idempotent_hint = true,
            open_world_hint = false
        )
    )]
    fn set_price(&self, Parameters(SetPrice { sku, price_cents }): Parameters<SetPrice>) -> Result<Json<Product>, String> {
        let mut stock = lock(&self.stock);
        let product = stock.product_mut(&sku)?;
        product.price_cents = price_cents;
        Ok(Json(product.clone()))
    }

    #[tool(
        description = "Add goods that have arrived to the stock of a product.",
        annotations(
            title = "Restock",
            read_only_hint = false,
            destructive_hint = false,
            idempotent_hint = false,
            open_world_hint = false
        )
    )]
    fn restock(&self, Parameters(Restock { sku, quantity }): Parameters<Restock>) -> Result<Json<Product>, String> {
        let mut stock = lock(&self.stock);
        let product = stock.product_mut(&sku)?;
        product.in_stock = product.in_stock.saturating_add(quantity);
        Ok(Json(product.clone()))
    }
}

#[tool_handler(router = self.router)]
impl ServerHandler for Shop {
    fn get_info(&self) -> ServerConfig {
        introduction("shop", "A web shop's products and orders. Prices are in cents.")
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Search {
    /// What the name contains; empty for every product.
    #[schemars(length(max = 200))]
    text: String,
    /// The highest price, in cents.
    #[serde(default = "any_price")]
    #[schemars(range(min = 0, max = 10_000_000))]
    max_price_cents: i64,
}

fn any_price() -> i64 {
    10_000_000
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProductId {
    /// The product's stock-keeping unit, such as `MUG-1`.
    #[schemars(regex(pattern = "^[A-Z]{2,8}-[0-9]{1,4}$"))]
    sku: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OrderId {
    /// The order's id, such as `O-501`.
    #[schemars(regex(pattern = "^O-[0-9]{1,6}$"))]
    id: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ByStatus {
    /// The status the orders have.
    #[schemars(extend("enum" = ["placed", "shipped", "cancelled"]))]
    status: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Place {
    /// The product's stock-keeping unit, such as `MUG-1`.
    #[schemars(regex(pattern = "^[A-Z]{2,8}-[0-9]{1,4}$"))]
    sku: String,
    /// How many.
    #[schemars(range(min = 1, max = 100))]
    quantity: i64,
    /// Whom it is for: a mail address.
    #[schemars(length(min = 3, max = 200))]
    customer: String,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SetPrice {
    /// The product's stock-keeping unit, such as `MUG-1`.
    #[schemars(regex(pattern = "^[A-Z]{2,8}-[0-9]{1,4}$"))]
    sku: String,
    /// The new price, in cents.
    #[schemars(range(min = 1, max = 10_000_000))]
    price_cents: i64,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Restock {
    /// The product's stock-keeping unit, such as `MUG-1`.
    #[schemars(regex(pattern = "^[A-Z]{2,8}-[0-9]{1,4}$"))]
    sku: String,
    /// How many arrived.
    #[schemars(range(min = 1, max = 10_000))]
    quantity: i64,
}

#[derive(Serialize, JsonSchema)]
struct Products {
    products: Vec<Product>,
}

#[derive(Serialize, JsonSchema)]
struct Orders {
    orders: Vec<Order>,
}
