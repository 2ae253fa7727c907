//! What the shop sells and has sold.

use schemars::JsonSchema;
use serde::Serialize;

/// As many orders as a demo may hold.
const ORDERS: usize = 1000;

/// Products and orders.
pub(super) struct Stock {
    products: Vec<Product>,
    orders: Vec<Order>,
}

/// One product.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct Product {
    pub(super) sku: String,
    pub(super) name: String,
    pub(super) price_cents: i64,
    pub(super) in_stock: i64,
}

/// One order.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) sku: String,
    pub(super) quantity: i64,
    pub(super) customer: String,
    pub(super) total_cents: i64,
    pub(super) status: String,
}

impl Stock {
    /// The same at each start.
    pub(super) fn new() -> Self {
        let products = [
            ("MUG-1", "Blue mug", 1_250, 40),
            ("MUG-2", "Travel mug", 2_490, 12),
            ("TEA-1", "Green tea, 100 g", 890, 200),
            ("TEA-7", "Earl Grey, 250 g", 1_590, 75),
            ("POT-3", "Cast-iron teapot", 5_900, 5),
            ("BOX-9", "Gift box", 450, 0),
        ];
        let products = products.into_iter().map(|(sku, name, price_cents, in_stock)| Product {
            sku: sku.to_owned(),
            name: name.to_owned(),
            price_cents,
            in_stock,
        });
        let orders = [
            ("O-501", "MUG-1", 2, "ada@example.com", 2_500, "shipped"),
            ("O-502", "POT-3", 1, "lin@example.com", 5_900, "placed"),
            ("O-503", "TEA-1", 4, "sam@example.com", 3_560, "placed"),
        ];
        let orders = orders.into_iter().map(|(id, sku, quantity, customer, total_cents, status)| Order {
            id: id.to_owned(),
            sku: sku.to_owned(),
            quantity,
            customer: customer.to_owned(),
            total_cents,
            status: status.to_owned(),
        });
        Self { products: products.collect(), orders: orders.collect() }
    }

    pub(super) fn products(&self) -> &[Product] {
        &self.products
    }

    pub(super) fn orders(&self) -> &[Order] {
        &self.orders
    }

    pub(super) fn product_mut(&mut self, sku: &str) -> Result<&mut Product, String> {
        let product = self.products.iter_mut().find(|product| product.sku == sku);
        product.ok_or_else(|| format!("there is no product `{sku}`"))
    }

    pub(super) fn order_mut(&mut self, id: &str) -> Result<&mut Order, String> {
        let order = self.orders.iter_mut().find(|order| order.id == id);
        order.ok_or_else(|| format!("there is no order `{id}`"))
    }

    pub(super) fn place(&mut self, sku: &str, quantity: i64, customer: String) -> Result<Order, String> {
        if self.orders.len() >= ORDERS {
            return Err("the demo's order book is full; start it again".to_owned());
        }
        // The first order is O-501, and none ever goes away.
        let id = format!("O-{}", self.orders.len() + 501);
        let product = self.product_mut(sku)?;
        if !(1..=product.in_stock.min(100)).contains(&quantity) {
            return Err(format!("`{quantity}` of `{sku}` can't be ordered; {} are in stock", product.in_stock));
        }
        product.in_stock -= quantity;
        let total_cents = product.price_cents.saturating_mul(quantity);
        let (sku, status) = (sku.to_owned(), "placed".to_owned());
        let placed = Order { id, sku, quantity, customer, total_cents, status };
        self.orders.push(placed.clone());
        Ok(placed)
    }

    pub(super) fn cancel(&mut self, id: &str) -> Result<Order, String> {
        let order = self.order_mut(id)?;
        if order.status != "placed" {
            return Err(format!("`{id}` is {} and can't be cancelled", order.status));
        }
        "cancelled".clone_into(&mut order.status);
        let order = order.clone();
        let product = self.product_mut(&order.sku)?;
        product.in_stock = product.in_stock.saturating_add(order.quantity);
        Ok(order)
    }
}
