"""Who a login is: accounts, addresses and passwords from the settings.

The contract, with every field and its bounds, is wit/policy.wit. The host checks every answer.
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.auth import Grant, Refusal_UnknownUser, Refusal_WrongPassword
from wit_world.exports.lifecycle import Descriptor

from kit import Settings, expect, logged

SCHEMA = """{
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "accounts": {
      "description": "A table for each account, by name. A login is ACCOUNT or ACCOUNT.WORKER.",
      "type": "object",
      "propertyNames": { "pattern": "^[^.\\"'\\\\\\\\<>&]{1,128}$" },
      "additionalProperties": {
        "type": "object",
        "additionalProperties": false,
        "required": ["address"],
        "properties": {
          "address": { "description": "Where it is paid.", "type": "string", "pattern": "^[0-9A-Za-z]{1,90}$" },
          "password": { "description": "Without one any password will do.", "type": "string" },
          "minimum-difficulty": { "type": "number", "minimum": 0.001, "maximum": 1e18 }
        }
      }
    },
    "open": { "description": "Let in who is not in the book, without an address.", "type": "boolean", "default": false }
  }
}"""


class AddressBook:
    """The decisions. Nothing here knows of WebAssembly."""

    def __init__(self, settings):
        self.accounts = {}
        for name, table in settings.tables("accounts"):
            self.accounts[name] = read_account(table)
            if not is_account(name):
                settings.problem(f"accounts.{name}", "a name is 1 to 128 printable characters without . \" ' \\ < > &")
        self.open = settings.flag("open")
        settings.finish()

    def authorize(self, username, password):
        account, _, worker = username.strip().partition(".")
        worker = "".join(c if is_name_character(c) else "_" for c in worker[:128])
        if account not in self.accounts:
            if self.open and is_account(account):
                return grant(account, worker)
            raise Err(Refusal_UnknownUser("no such account here"))
        entry = self.accounts[account]
        if entry["password"] is not None and entry["password"] != password:
            raise Err(Refusal_WrongPassword("wrong password"))
        return grant(account, worker, entry["address"], entry["minimum-difficulty"])


def read_account(table):
    address = table.text("address", "a Bitcoin address", is_address)
    if "address" not in table.table:
        table.problem("address", "missing; a Bitcoin address is expected")
    return {
        # The host checks it against the pool's network.
        "address": address,
        "password": table.secret("password"),
        "minimum-difficulty": table.number("minimum-difficulty", 0.001, 1e18),
    }


def grant(account, worker, address=None, minimum_difficulty=None):
    return Grant(
        account=account,
        worker=worker,
        payout_address=address,
        start_difficulty=None,
        minimum_difficulty=minimum_difficulty,
        maximum_difficulty=None,
    )


def is_address(text):
    return 1 <= len(text) <= 90 and text.isascii() and text.isalnum()


def is_account(text):
    return 1 <= len(text) <= 128 and "." not in text and text.strip() == text and all(map(is_name_character, text))


def is_name_character(c):
    return " " <= c <= "~" and c not in "\"'\\<>&"


# From here on: how the host reaches the above.

policy = None


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Descriptor(
            name="address-book",
            version="0.1.0",
            summary="Logins from an address book: ACCOUNT[.WORKER], an address and perhaps a password for each.",
            settings_schema=SCHEMA,
            memo_format=0,
        )

    @logged
    def configure(self, settings):
        global policy
        policy = AddressBook(Settings.parse(settings))

    @logged
    def self_test(self):
        book = AddressBook(Settings({"accounts": {"a": {"address": "x", "password": "p"}}}))
        expect("the right password", book.authorize("a.rig", "p"), grant("a", "rig", "x"))
        try:
            book.authorize("a.rig", "q")
        except Err as refusal:
            expect("a wrong password", refusal.value, Refusal_WrongPassword("wrong password"))
        else:
            expect("a wrong password", "let in", "refused")


class Auth(exports.Auth):
    @logged
    def authorize(self, login):
        return policy.authorize(login.username, login.password)
