"""Labelled queries for the benchmarks: Banking77 (Casanueva et al. 2020), or another data set in the same layout.

A folder holds `train.csv` and `test.csv` (columns `text`, `category`) and `categories.json` (a list of the categories).
"""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

BASE = 1_000
HOLDOUT = 2_000
SEED = 20
RARE = 8
"""An intent with at most so many base examples is rare; held-out queries of rare intents are the edge cases. The rule
looks at no model, so it favours none."""

_CARDS = """
activate_my_card apple_pay_or_google_pay card_about_to_expire card_acceptance card_arrival card_delivery_estimate
card_linking card_not_working card_payment_fee_charged card_payment_not_recognised card_payment_wrong_exchange_rate
card_swallowed compromised_card contactless_not_working declined_card_payment disposable_card_limits
get_disposable_virtual_card get_physical_card getting_spare_card getting_virtual_card lost_or_stolen_card
order_physical_card pending_card_payment reverted_card_payment? supported_cards_and_currencies transaction_charged_twice
virtual_card_not_working visa_or_mastercard
"""
_TRANSFERS = """
Refund_not_showing_up balance_not_updated_after_bank_transfer beneficiary_not_allowed cancel_transfer declined_transfer
direct_debit_payment_not_recognised exchange_charge exchange_rate exchange_via_app extra_charge_on_statement
failed_transfer fiat_currency_support pending_transfer receiving_money request_refund transfer_fee_charged
transfer_into_account transfer_not_received_by_recipient transfer_timing
"""
_TOP_UPS_AND_CASH = """
atm_support automatic_top_up balance_not_updated_after_cheque_or_cash_deposit cash_withdrawal_charge
cash_withdrawal_not_recognised declined_cash_withdrawal pending_cash_withdrawal pending_top_up
top_up_by_bank_transfer_charge top_up_by_card_charge top_up_by_cash_or_cheque top_up_failed top_up_limits top_up_reverted
topping_up_by_card verify_top_up wrong_amount_of_cash_received wrong_exchange_rate_for_cash_withdrawal
"""
_ACCOUNT = """
age_limit change_pin country_support edit_personal_details lost_or_stolen_phone passcode_forgotten pin_blocked
terminate_account unable_to_verify_identity verify_my_identity verify_source_of_funds why_verify_identity
"""
_FIELDS = {"cards": _CARDS, "transfers": _TRANSFERS, "top-ups and cash": _TOP_UPS_AND_CASH, "account": _ACCOUNT}
"""Fields of expertise of Banking77, grouped by hand."""


class DataMissing(Exception):
    """The folder is not there, or not in the layout; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Query:
    item_id: str
    text: str
    intent: str


@dataclass(frozen=True, slots=True)
class Queries:
    """The base (drawn from the training file), a holdout drawn beside it, and what arrives (the test file)."""

    labels: tuple[str, ...]
    base: Sequence[Query]
    holdout: Sequence[Query]
    arriving: Sequence[Query]
    fields: Mapping[str, tuple[str, ...]]

    def rare(self) -> frozenset[str]:
        """Intents of which the base has at most `RARE` examples."""
        counts = Counter(query.intent for query in self.base)
        return frozenset(label for label in self.labels if counts[label] <= RARE)

    def field_of(self, label: str) -> str:
        return next(name for name, labels in self.fields.items() if label in labels)


def read_halves(folder: Path) -> tuple[list[Query], list[Query]]:
    """All of the training file and of the test file, in their order. Raises DataMissing."""
    _look(folder)
    return _read(folder / "train.csv", "train"), _read(folder / "test.csv", "test")


def _look(folder: Path) -> None:
    missing = [name for name in ("train.csv", "test.csv", "categories.json") if not (folder / name).is_file()]
    if missing:
        raise DataMissing(
            f"{', '.join(missing)} not found in {folder}. Banking77 is in github.com/PolyAI-LDN/task-specific-datasets, "
            "folder banking_data (CC BY 4.0); name where it lies with --data DIR."
        )


def read_queries(folder: Path) -> Queries:
    """The data of `folder`, drawn with a fixed seed. Raises DataMissing."""
    _look(folder)
    labels = tuple(sorted(json.loads((folder / "categories.json").read_text(encoding="utf-8"))))
    training = _read(folder / "train.csv", "train")
    random.Random(SEED).shuffle(training)
    base = training[:BASE]
    known = {query.text for query in base}
    holdout = [query for query in training[BASE:] if query.text not in known][:HOLDOUT]
    if not holdout:
        raise DataMissing(f"train.csv in {folder} has {len(training):,} rows; more than {BASE:,} are needed, for a holdout.")
    return Queries(labels, base, holdout, _read(folder / "test.csv", "test"), _fields(labels))


def _read(path: Path, name: str) -> list[Query]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"text", "category"} <= rows[0].keys():
        raise DataMissing(f"{path} has no rows with the columns text and category.")
    return [Query(f"{name}-{number:05}", row["text"], row["category"]) for number, row in enumerate(rows, start=1)]


def _fields(labels: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
    """The four fields by hand where they fit these labels; else four equal parts of the alphabet."""
    by_hand = {name: tuple(intents.split()) for name, intents in _FIELDS.items()}
    if sorted(label for intents in by_hand.values() for label in intents) == sorted(labels):
        return by_hand
    parts = min(len(by_hand), len(labels))
    return {f"field {part + 1}": tuple(labels[part::parts]) for part in range(parts)}
