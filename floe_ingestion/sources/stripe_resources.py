"""What Stripe lists, which of its fields are times, and which hold objects: by the types of its API.

Stripe writes times as seconds after 1970; a connector that left them numbers would have no column to partition by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from floe_ingestion.sources.base import Usual
from floe_ingestion.spec import ColumnSpec, IncrementalSpec

ResourceName = Literal[
    "balance_transactions",
    "charges",
    "checkout_sessions",
    "coupons",
    "credit_notes",
    "customers",
    "disputes",
    "events",
    "invoice_items",
    "invoices",
    "payment_intents",
    "payouts",
    "plans",
    "prices",
    "products",
    "promotion_codes",
    "refunds",
    "setup_intents",
    "subscriptions",
    "tax_rates",
    "transfers",
]

TIMES = frozenset(
    {
        "arrival_date",
        "automatically_finalizes_at",
        "available_on",
        "billing_cycle_anchor",
        "cancel_at",
        "canceled_at",
        "created",
        "current_period_end",
        "current_period_start",
        "date",
        "due_date",
        "effective_at",
        "ended_at",
        "expires_at",
        "next_payment_attempt",
        "next_pending_invoice_item_invoice",
        "period_end",
        "period_start",
        "redeem_by",
        "start_date",
        "trial_end",
        "trial_start",
        "updated",
        "voided_at",
        "webhooks_delivered_at",
    }
)
"""Fields of any object that hold a time."""


@dataclass(frozen=True)
class Listing:
    """One list of the API."""

    path: str
    times: tuple[str, ...] = ()
    """Beside the one of its creation."""
    numbers: tuple[str, ...] = ()
    fractions: tuple[str, ...] = ()
    """Numbers that come without a fraction where they have none."""
    texts: tuple[str, ...] = ()
    nested: tuple[str, ...] = ("metadata",)
    params: Mapping[str, str] = field(default_factory=dict)
    created: str = "created"
    """The field that the API's parameter `created` speaks of."""
    never_changes: bool = False

    @property
    def usual(self) -> Usual:
        """What floe.yaml need not say."""
        columns = {"id": "string", "object": "string", **dict.fromkeys(self.numbers, "long")}
        columns |= dict.fromkeys(self.fractions, "double") | dict.fromkeys(self.texts, "string")
        columns |= dict.fromkeys((self.created, *self.times), "timestamptz")
        return Usual(
            write_disposition="merge",
            primary_key=("id",),
            columns={name: ColumnSpec(type=type_) for name, type_ in columns.items()},
            nested=self.nested,
            incremental=IncrementalSpec(cursor_path=self.created) if self.never_changes else None,
        )


_MONEY = ("currency", "description", "status")

LISTINGS: Mapping[str, Listing] = {
    "balance_transactions": Listing(
        path="balance_transactions",
        times=("available_on",),
        numbers=("amount", "fee", "net"),
        fractions=("exchange_rate",),
        texts=(*_MONEY, "type", "reporting_category"),
        nested=("fee_details",),
    ),
    "charges": Listing(
        path="charges",
        numbers=("amount", "amount_captured", "amount_refunded"),
        texts=(*_MONEY, "customer", "payment_intent", "failure_code", "failure_message"),
        nested=("billing_details", "metadata", "outcome", "payment_method_details", "shipping"),
    ),
    "checkout_sessions": Listing(
        path="checkout/sessions",
        times=("expires_at",),
        numbers=("amount_subtotal", "amount_total"),
        texts=("currency", "customer", "mode", "payment_status", "status"),
        nested=("customer_details", "metadata", "total_details"),
    ),
    "coupons": Listing(
        path="coupons",
        times=("redeem_by",),
        numbers=("amount_off", "duration_in_months", "max_redemptions", "times_redeemed"),
        fractions=("percent_off",),
        texts=("currency", "duration", "name"),
    ),
    "credit_notes": Listing(
        path="credit_notes",
        times=("effective_at", "voided_at"),
        numbers=("amount", "subtotal", "total"),
        texts=("currency", "customer", "invoice", "memo", "number", "reason", "status"),
        nested=("discount_amounts", "lines", "metadata", "total_taxes"),
    ),
    "customers": Listing(
        path="customers",
        numbers=("balance",),
        texts=("currency", "description", "email", "name", "phone"),
        nested=("address", "invoice_settings", "metadata", "preferred_locales", "shipping"),
    ),
    "disputes": Listing(
        path="disputes",
        numbers=("amount",),
        texts=("charge", "currency", "payment_intent", "reason", "status"),
        nested=("balance_transactions", "evidence", "evidence_details", "metadata", "payment_method_details"),
    ),
    # An event is told once: what happens to its object afterwards is another event.
    "events": Listing(
        path="events",
        numbers=("pending_webhooks",),
        texts=("account", "api_version", "type"),
        nested=("data", "request"),
        never_changes=True,
    ),
    "invoice_items": Listing(
        path="invoiceitems",
        numbers=("amount", "quantity"),
        texts=("currency", "customer", "description", "invoice"),
        nested=("discounts", "metadata", "parent", "period", "pricing", "tax_rates"),
        created="date",
    ),
    "invoices": Listing(
        path="invoices",
        times=("due_date", "effective_at", "next_payment_attempt", "period_end", "period_start"),
        numbers=("amount_due", "amount_paid", "amount_remaining", "attempt_count", "subtotal", "total"),
        texts=("billing_reason", "currency", "customer", "description", "number", "status"),
        nested=("automatic_tax", "discounts", "lines", "metadata", "parent", "status_transitions", "total_taxes"),
    ),
    "payment_intents": Listing(
        path="payment_intents",
        times=("canceled_at",),
        numbers=("amount", "amount_capturable", "amount_received"),
        texts=(*_MONEY, "cancellation_reason", "customer", "latest_charge"),
        nested=("last_payment_error", "metadata", "next_action", "payment_method_types", "shipping"),
    ),
    "payouts": Listing(
        path="payouts",
        times=("arrival_date",),
        numbers=("amount",),
        texts=(*_MONEY, "failure_code", "failure_message", "method", "type"),
    ),
    "plans": Listing(
        path="plans",
        numbers=("amount", "interval_count", "trial_period_days"),
        texts=("amount_decimal", "currency", "interval", "nickname", "product"),
        nested=("metadata", "tiers", "transform_usage"),
    ),
    "prices": Listing(
        path="prices",
        numbers=("unit_amount",),
        texts=("currency", "lookup_key", "nickname", "product", "type", "unit_amount_decimal"),
        nested=("custom_unit_amount", "metadata", "recurring", "transform_quantity"),
    ),
    "products": Listing(
        path="products",
        times=("updated",),
        texts=("default_price", "description", "name", "tax_code", "unit_label", "url"),
        nested=("images", "marketing_features", "metadata", "package_dimensions"),
    ),
    "promotion_codes": Listing(
        path="promotion_codes",
        times=("expires_at",),
        numbers=("max_redemptions", "times_redeemed"),
        texts=("code", "customer"),
        nested=("metadata", "restrictions"),
    ),
    "refunds": Listing(
        path="refunds",
        numbers=("amount",),
        texts=("charge", "currency", "failure_reason", "payment_intent", "reason", "status"),
        nested=("destination_details", "metadata"),
    ),
    "setup_intents": Listing(
        path="setup_intents",
        texts=("cancellation_reason", "customer", "description", "payment_method", "status"),
        nested=("last_setup_error", "metadata", "next_action", "payment_method_types"),
    ),
    # Without `status`, Stripe leaves out the subscriptions that have ended.
    "subscriptions": Listing(
        path="subscriptions",
        times=(
            "billing_cycle_anchor",
            "cancel_at",
            "canceled_at",
            "ended_at",
            "start_date",
            "trial_end",
            "trial_start",
        ),
        numbers=("days_until_due",),
        fractions=("application_fee_percent",),
        texts=("collection_method", "currency", "customer", "description", "latest_invoice", "status"),
        nested=("automatic_tax", "cancellation_details", "discounts", "items", "metadata", "pending_update"),
        params={"status": "all"},
    ),
    "tax_rates": Listing(
        path="tax_rates",
        fractions=("effective_percentage", "percentage"),
        texts=("country", "description", "display_name", "jurisdiction", "state", "tax_type"),
    ),
    "transfers": Listing(
        path="transfers",
        numbers=("amount", "amount_reversed"),
        texts=("currency", "description", "destination", "transfer_group"),
        nested=("metadata", "reversals"),
    ),
}

assert set(LISTINGS) == set(get_args(ResourceName))
