"""Labelled texts for benchmarks/redaction.py: tickets, forms, JSON, logs and code of 11 locales.

Values are made from the public formats (faker, libphonenumber's plans, the published check digits),
never from the detectors that are measured on them. Hard negatives are made the same way and carry
no label: order numbers, amounts, dates, versions, hashes, tracking numbers.
"""

import json
import random
import re
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

import phonenumbers
from faker import Faker
from redaction_values import DIGITS, NATIONAL_IDS, SECRETS, grouped

Span = tuple[int, int, str, str]  # start, end, kind, and the type it is reported under

LOCALES = (
    "en_US", "en_GB", "de_DE", "fr_FR", "es_ES", "it_IT", "nl_NL", "sv_SE", "pl_PL", "pt_BR",
    "en_IN",
)  # fmt: skip

# As people write to a support desk.
SENTENCES = {
    "en": [
        "Hi, my name is {name} and my email is {email}, please update order {order} from {date}.",
        "Please call me back on {phone} about the {price} refund.",
        "You can reach me at {phone} or {email} after {date}.",
        "The card {card} was charged {price} twice on {date}.",
        "Kindly wire the refund of {price} to {iban}, account holder {name}.",
        "For verification, my {id_label} is {id}.",
        "{id_label}: {id}, born {date}.",
        "I logged in from {ip} and the order {order} is still not shipped, tracking {tracking}.",
        "Paid with {card} exp 04/29, invoice {order}.",
    ],
    "de": [
        "Guten Tag, meine E-Mail lautet {email}, es geht um die Bestellung {order} vom {date}.",
        "Bitte rufen Sie mich unter {phone} zurück, es geht um {price}.",
        "Sie erreichen mich unter {phone} oder {email}.",
        "Die Karte {card} wurde am {date} zweimal mit {price} belastet.",
        "Bitte überweisen Sie {price} auf {iban}, Kontoinhaber {name}.",
        "Meine {id_label} lautet {id}.",
        "{id_label}: {id}, geboren am {date}",
        "Anmeldung von {ip}, Rechnung {order}, Sendung {tracking}.",
    ],
    "fr": [
        "Bonjour, mon adresse est {email}, commande {order} du {date}.",
        "Merci de me rappeler au {phone} pour les {price}.",
        "Vous pouvez me joindre au {phone} ou par mail {email}.",
        "La carte {card} a été débitée de {price} le {date}.",
        "Merci de virer {price} sur le compte {iban} au nom de {name}.",
        "Mon {id_label} est le {id}.",
        "{id_label} : {id}, né le {date}",
        "Connexion depuis {ip}, facture {order}, suivi {tracking}.",
    ],
    "es": [
        "Hola, mi correo es {email} y el pedido es el {order} del {date}.",
        "Llámame al {phone} por favor, son {price}.",
        "Me pueden localizar en el {phone} o en {email}.",
        "La tarjeta {card} fue cargada con {price} el {date}.",
        "Hagan la transferencia de {price} a {iban}, titular {name}.",
        "Mi {id_label} es {id}.",
        "{id_label}: {id}, nacido el {date}",
        "Acceso desde {ip}, factura {order}, seguimiento {tracking}.",
    ],
    "it": [
        "Buongiorno, la mia email è {email}, ordine {order} del {date}.",
        "Mi chiami al {phone} per il rimborso di {price}.",
        "Mi trovate al {phone} oppure a {email}.",
        "La carta {card} è stata addebitata di {price} il {date}.",
        "Il bonifico di {price} va su {iban}, intestato a {name}.",
        "Il mio {id_label} è {id}.",
        "{id_label}: {id}, data di nascita {date}",
        "Accesso da {ip}, fattura {order}, spedizione {tracking}.",
    ],
    "nl": [
        "Hallo, mijn e-mailadres is {email}, het gaat om bestelling {order} van {date}.",
        "Bel mij terug op {phone} over de {price}.",
        "U kunt mij bereiken op {phone} of via {email}.",
        "Mijn kaart {card} is op {date} twee keer belast met {price}.",
        "Graag {price} overmaken naar {iban} t.n.v. {name}.",
        "Mijn {id_label} is {id}.",
        "{id_label}: {id}, geboren op {date}",
        "Ingelogd vanaf {ip}, factuur {order}, zending {tracking}.",
    ],
    "sv": [
        "Hej, min e-post är {email} och det gäller order {order} från {date}.",
        "Ring mig på {phone} angående {price}.",
        "Ni når mig på {phone} eller {email}.",
        "Kortet {card} debiterades {price} den {date}.",
        "Betala tillbaka {price} till {iban}, kontohavare {name}.",
        "Mitt {id_label} är {id}.",
        "{id_label}: {id}, inskriven {date}",
        "Inloggning från {ip}, faktura {order}, paket {tracking}.",
    ],
    "pl": [
        "Dzień dobry, mój adres to {email}, chodzi o zamówienie {order} z dnia {date}.",
        "Proszę o telefon pod numer {phone} w sprawie {price}.",
        "Można się ze mną skontaktować: {phone} lub {email}.",
        "Karta {card} została obciążona kwotą {price} dnia {date}.",
        "Proszę o przelew {price} na konto {iban}, właściciel {name}.",
        "Mój {id_label} to {id}.",
        "{id_label}: {id}, urodzony {date}",
        "Logowanie z {ip}, faktura {order}, przesyłka {tracking}.",
    ],
    "pt": [
        "Olá, meu e-mail é {email}, pedido {order} de {date}.",
        "Por favor me ligue no {phone} sobre os {price}.",
        "Podem falar comigo no {phone} ou em {email}.",
        "O cartão {card} foi cobrado em {price} no dia {date}.",
        "Façam a transferência de {price} para {iban}, titular {name}.",
        "Meu {id_label} é {id}.",
        "{id_label}: {id}, nascido em {date}",
        "Acesso de {ip}, fatura {order}, rastreio {tracking}.",
    ],
}  # fmt: skip
NEGATIVES = [
    "Order {order} shipped on {date}, tracking {tracking}.",
    "We measured {number} requests at {timestamp}, trace {uuid}.",
    "The build {version} with commit {hash} failed at {datetime}.",
    "Book ISBN {isbn}, EAN {ean}, price {price}.",
    "The office is at {coordinates}, {number} visitors since {date}.",
    "Use model {model} with max_tokens 4096 and seed {seed}.",
    "Total: {amount}, of which {price} tax; population {amount}.",
    "Part no. {part}, serial {serial}, size 1920x1080, 12:30:45 to 14:05:10.",
    "std::vector<int> a = b[::2]; // see section 3.2.1.4, version {version}",
    "Call me maybe, or mail us @ the office; ratio 16:9, phase 1-2-3.",
    "react@18.2.0 and lodash@4.17.21 need node {version}; clone git@github.com:acme/app.git",
    "between 2019-2023 and 1 000 000 - 2 500 000 units, ref {order}",
    '{{"id": "{uuid}", "created": {timestamp}, "etag": "{hash}", "total": {number}}}',
    "sha256:{hash} 2x.png primary_key customer_id token_count: {number} password: required",
]
SECRET_LINES = [
    "OPENAI_API_KEY={openai}", "export ANTHROPIC_API_KEY={anthropic}", "token used: {github}",
    "remote: https://oauth2:{gitlab}@gitlab.com/acme/app.git", "SLACK_TOKEN={slack}",
    "Stripe.apiKey = '{stripe}';", "AWS_ACCESS_KEY_ID={aws_id}", "google key {google} is dead",
    "aws_secret_access_key = {aws_secret}", '"SecretAccessKey": "{aws_secret}"',
    "hf login --token {huggingface}",
    "curl -H 'Authorization: Bearer {bearer}' https://api.acme.io",
    "cookie jwt={jwt}", "{private_key}", "DATABASE_URL=postgres://app:{password}@db.acme.io:5432/app",
    "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={azure};EndpointSuffix=core.windows.net",
    "api_key={generic}", 'api_key: "{generic}"', "x-api-key: {generic}", "client_secret={generic}",
    "Endpoint=sb://acme.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={azure_bus}",
    "redis://default:{password}@cache:6379/0 is what the worker uses",
    "I pasted {openai} by mistake",
    "Is {github} still valid? It was in the log.", "{anthropic}", "header: Bearer {jwt}",
]  # fmt: skip
LOG_LINES = [
    "{datetime} INFO login user={email} ip={ip} agent=Mozilla/5.0 Chrome/120.0.6099.109 took=35ms",
    '{ip} - - [{apache}] "GET /orders/{order} HTTP/1.1" 200 5123 "-" "curl/8.4.0"',
    "{timestamp} WARN sms to={phone} failed code=30007 request_id={uuid}",
    "{datetime} [worker-3] DEBUG charge card={card} amount={plain} trace={hash}",
    "{datetime} ERROR payout iban={iban} rejected ref={order}",
    "{datetime} audit subject={email} from {ip} port 52311 version {version}",
]
PHONE_LABELS = {
    "en": ["Phone", "Tel", "Mobile"], "de": ["Telefon", "Tel.", "Handy"],
    "fr": ["Téléphone", "Tél.", "Portable"], "es": ["Teléfono", "Tel.", "Móvil"],
    "it": ["Telefono", "Tel.", "Cellulare"], "nl": ["Telefoon", "Tel.", "Mobiel"],
    "sv": ["Telefon", "Tel.", "Mobil"], "pl": ["Telefon", "Tel.", "Kom."],
    "pt": ["Telefone", "Tel.", "Celular"],
}  # fmt: skip
CURRENCY = {
    "en_US": "USD", "en_GB": "GBP", "sv_SE": "SEK", "pl_PL": "PLN", "pt_BR": "BRL", "en_IN": "INR",
}  # fmt: skip


@dataclass
class Text:
    """One text, where its personal data and secrets are, and what it is like."""

    locale: str
    form: str
    text: str = ""
    spans: list[Span] = field(default_factory=list)

    def add(self, piece: str, kind: str = "", reported: str = "") -> None:
        """Append a piece, labelled where it has a kind."""
        if kind:
            start = len(self.text)
            self.spans.append((start, start + len(piece), kind, reported or kind))
        self.text += piece


class Author:
    """Writes the texts of one locale."""

    def __init__(self, locale: str, seed: int) -> None:
        self.locale, self.language, self.region = locale, locale[:2], locale[3:]
        self.random = random.Random(f"{seed} {locale}")
        self.faker = Faker(locale)
        self.faker.seed_instance(f"{seed} {locale}")
        self.id_type = IDS_OF[locale][0]

    def write(self) -> Text:
        """Write one text of a form drawn at random."""
        forms: list[tuple[Callable[[Text], None], int]] = [
            (self.ticket, 28), (self.form, 12), (self.record, 14), (self.arguments, 8),
            (self.table, 6), (self.log, 10), (self.code, 14), (self.negative, 16),
        ]  # fmt: skip
        (form,) = self.random.choices([f for f, _ in forms], [weight for _, weight in forms])
        text = Text(self.locale, form.__name__)
        form(text)
        return text

    # The forms of text.

    def ticket(self, text: Text) -> None:
        """Sentences in the customer's language, some with a signature."""
        for sentence in self.random.sample(SENTENCES[self.language], self.random.randint(1, 4)):
            self.fill(text, sentence)
            text.add(self.random.choice([" ", "\n", "\n\n"]))
        if self.random.random() < 0.4:
            self.fill(text, "\n--\n{name}\n{phone}\n{email}")

    def form(self, text: Text) -> None:
        """Lines of `label: value`."""
        label = self.random.choice(PHONE_LABELS[self.language])
        lines = ["Name: {name}", label + ": {phone}", "E-Mail: {email}", "IBAN: {iban}",
                 "{id_label}: {id}", "{id_label} {id}", "IP: {ip}", "Ref: {order}", "Card: {card}",
                 "Date: {date}", "Total: {price}"]  # fmt: skip
        for line in self.random.sample(lines, self.random.randint(3, 6)):
            self.fill(text, line + "\n")

    def record(self, text: Text) -> None:
        """A JSON object, compact or indented, with digits now and then as a number."""
        rows = self.fields()
        note = Text(self.locale, "")
        self.fill(note, self.random.choice(SENTENCES[self.language]))
        indent = self.random.choice([None, 2])
        document = {"id": str(self.uuid()), **{key: value for key, value, _, _ in rows},
                    "note": note.text, "created": int(self.timestamp())}  # fmt: skip
        text.add(json.dumps(document, ensure_ascii=False, indent=indent))
        at = 0
        for key, value, kind, reported in rows:
            at = text.text.index(f'"{key}": ', at) + len(key) + 4
            at = text.text.index(str(value), at)
            if kind:
                text.spans.append((at, at + len(str(value)), kind, reported))
        at = text.text.index('"note": "', at) + len('"note": "')
        text.spans += [(at + start, at + end, k, r) for start, end, k, r in note.spans]

    def arguments(self, text: Text) -> None:
        """A tool call's arguments: JSON whose text has its line breaks escaped."""
        note = Text(self.locale, "")
        self.fill(note, "{name}\n{phone}\n{email}\n")
        self.fill(note, self.random.choice(SENTENCES[self.language]))
        text.add('{"to": "desk", "body": "')
        done = 0
        for start, end, kind, reported in note.spans:
            text.add(json.dumps(note.text[done:start], ensure_ascii=False)[1:-1])
            text.add(note.text[start:end], kind, reported)
            done = end
        text.add(json.dumps(note.text[done:], ensure_ascii=False)[1:-1] + '", "urgent": true}')

    def table(self, text: Text) -> None:
        """Comma-separated values under a header."""
        label = self.id_label()
        text.add(f"name,email,phone,{label.lower()},order_id,total\n")
        for _ in range(self.random.randint(1, 4)):
            self.fill(text, "{name},{email},{phone},{id},{order},{plain}\n")

    def log(self, text: Text) -> None:
        """Lines of a service's log."""
        for _ in range(self.random.randint(1, 4)):
            self.fill(text, self.random.choice(LOG_LINES) + "\n")

    def code(self, text: Text) -> None:
        """Configuration, shell and code with credentials in it."""
        for _ in range(self.random.randint(1, 3)):
            self.fill(text, self.random.choice([*SECRET_LINES, *NEGATIVES[:6]]) + "\n")

    def negative(self, text: Text) -> None:
        """Nothing to find, much that looks like it."""
        for line in self.random.sample(NEGATIVES, self.random.randint(1, 4)):
            self.fill(text, line + "\n")

    def fill(self, text: Text, template: str) -> None:
        """Append a template with its fields filled in and labelled."""
        for literal, name, _, _ in string.Formatter().parse(template):
            text.add(literal)
            if name:
                value, kind, reported = self.value(name)
                text.add(value, kind, reported)

    def fields(self) -> list[tuple[str, str | int, str, str]]:
        """Draw a JSON object's keys with their values and labels."""
        label = self.id_label()
        rows: list[tuple[str, str | int, str, str]] = []
        names = ["email", "phone", "iban", "card", "id", "ip", "order", "version", "hash"]
        keys = {"id": re.sub(r"\W+", "_", label.lower()), "order": "order_id", "hash": "sha"}
        for name in names:
            if self.random.random() < 0.45:
                value, kind, reported = self.value(name)
                number = value.isdigit() and value[0] != "0" and self.random.random() < 0.3
                rows.append((keys.get(name, name), int(value) if number else value, kind, reported))
        return rows

    # Values. Each returns the text, its kind (none for a hard negative) and its reported type.

    def value(self, name: str) -> tuple[str, str, str]:
        """Return a field's value, its kind and the type it is reported under."""
        if name == "id_label":
            return self.id_label(), "", ""
        if name == "id":
            return NATIONAL_IDS[self.id_type](self.random), "NATIONAL_ID", self.id_type
        if name in SECRETS:
            return SECRETS[name](self.random), "SECRET", f"SECRET {name}"
        value = str(getattr(self, name)())
        return value, KINDS.get(name, ""), KINDS.get(name, "")

    def id_label(self) -> str:
        """Draw a national id's type, for the label and for the value that follows."""
        self.id_type = self.random.choice(IDS_OF[self.locale])
        return self.random.choice(ID_LABELS[self.id_type])

    def name(self) -> str:
        """A person's name."""
        return self.faker.name()

    def email(self) -> str:
        """An address, of a made-up company or a big provider."""
        made = [self.faker.email, self.faker.company_email, self.faker.ascii_free_email]
        return str(self.random.choice(made)())

    def phone(self) -> str:
        """A number of the country's plan, written one of the ways that people and systems do."""
        if self.random.random() < 0.35:
            return str(self.faker.phone_number())
        kind = self.random.choice([phonenumbers.PhoneNumberType.MOBILE,
                                   phonenumbers.PhoneNumberType.FIXED_LINE])  # fmt: skip
        number = phonenumbers.example_number_for_type(self.region, kind)
        assert number is not None  # of every region here
        number.national_number = int(str(number.national_number)[:-5] + self.digits(5))
        styles = phonenumbers.PhoneNumberFormat
        style = self.random.choice([styles.NATIONAL, styles.INTERNATIONAL, styles.E164])
        return str(phonenumbers.format_number(number, style))

    def card(self) -> str:
        """A card number with its check digit, unbroken or grouped as on the card."""
        network = self.random.choice(["visa16", "mastercard", "amex", "discover", "jcb16"])
        number = self.faker.credit_card_number(network)
        groups = (4, 6, 5) if network == "amex" else (4, 4, 4, 4)
        return grouped(number, groups, self.random.choice(["", " ", " ", "-"]))

    def iban(self) -> str:
        """An account of the country (Germany's where the country has no IBAN), printed or plain."""
        number = self._iban("DE" if self.region in {"US", "IN"} else self.region)
        return grouped(number, [4] * 9, self.random.choice(["", " "]))

    def _iban(self, country: str) -> str:
        # ISO 13616 registry: the national part's length and shape (n digits, a letters).
        shape = {"DE": "18n", "GB": "4a14n", "FR": "23n", "ES": "20n", "IT": "1a22n", "NL": "4a10n",
                 "SE": "20n", "PL": "24n", "BR": "23n1a1n"}[country]  # fmt: skip
        account = "".join(
            "".join(
                self.random.choices(DIGITS if kind == "n" else string.ascii_uppercase, k=int(n))
            )
            for n, kind in re.findall(r"(\d+)([na])", shape)
        )
        number = "".join(str(int(char, 36)) for char in f"{account}{country}00")
        return f"{country}{98 - int(number) % 97:02d}{account}"

    def ip(self) -> str:
        """An address of either family."""
        if self.random.random() < 0.7:
            return str(self.faker.ipv4_public())
        return str(self.faker.ipv6())

    def digits(self, count: int) -> str:
        """Random digits, the first of which may be 0."""
        return "".join(self.random.choices(DIGITS, k=count))

    def order(self) -> str:
        """An order number as shops write them."""
        plain = self.digits(self.random.randint(6, 12))
        three = f"{self.digits(3)}-{self.digits(7)}-{self.digits(7)}"
        year = self.random.randint(2019, 2026)
        styles = [plain, f"#{plain[:8]}", f"ORD-{plain}", f"{year}-{plain[:6]}", three]
        return self.random.choice(styles)

    def tracking(self) -> str:
        """A parcel's number: UPS, FedEx, USPS, DHL, the postal union's."""
        return self.random.choice([
            "1Z" + "".join(self.random.choices(string.ascii_uppercase + DIGITS, k=16)),
            self.digits(12), "94" + self.digits(20), "JD" + self.digits(18),
            f"RR{self.digits(9)}{self.region}",
        ])  # fmt: skip

    def price(self) -> str:
        """An amount of money, written the local way."""
        amount = self.random.choice([self.random.uniform(1, 99), self.random.uniform(100, 9e5)])
        plain = f"{amount:,.2f}"
        if self.language != "en":
            thousands = "\u00a0" if self.language in {"fr", "sv", "pl"} else "."
            plain = plain.translate({ord(","): thousands, ord("."): ","})
        code = CURRENCY.get(self.locale, "EUR")
        return self.random.choice([f"{code} {plain}", f"{plain} {code}"])

    def plain(self) -> str:
        """An amount as systems write it."""
        return f"{self.random.uniform(1, 9e4):.2f}"

    def amount(self) -> str:
        """A phone-like amount: millions in groups."""
        return f"{self.random.randint(10**6, 10**9):,}".replace(",", self.random.choice(" ,."))

    def number(self) -> str:
        """A count."""
        return str(self.random.randint(1, 10**7))

    def seed(self) -> str:
        """A random seed."""
        return str(self.random.randint(1, 2**32))

    def date(self) -> str:
        """A date in one of the usual orders."""
        style = self.random.choice(["%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y"])
        return str(self.faker.date(style))

    def datetime(self) -> str:
        """A log line's time."""
        style = self.random.choice(
            ["%Y-%m-%dT%H:%M:%S.000Z", "%Y-%m-%d %H:%M:%S,123", "%Y%m%d%H%M%S"]
        )
        return self.faker.date_time().strftime(style)

    def apache(self) -> str:
        """A web server's time."""
        return self.faker.date_time().strftime("%d/%b/%Y:%H:%M:%S +0000")

    def timestamp(self) -> str:
        """Unix time in seconds or milliseconds."""
        seconds = self.random.randint(1_500_000_000, 1_800_000_000)
        return str(seconds if self.random.random() < 0.6 else seconds * 1000 + 123)

    def version(self) -> str:
        """A version of three or four parts."""
        parts = [str(self.random.randint(0, 40)) for _ in range(self.random.choice([3, 3, 4]))]
        return self.random.choice(["", "v"]) + ".".join(parts)

    def uuid(self) -> str:
        """A version 4 UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def hash(self) -> str:
        """A commit or a file's digest."""
        return "".join(
            self.random.choices("0123456789abcdef", k=self.random.choice([7, 32, 40, 64]))
        )

    def isbn(self) -> str:
        """A book's number."""
        return str(self.random.choice([self.faker.isbn13, self.faker.isbn10])())

    def ean(self) -> str:
        """An article's number."""
        return str(self.faker.ean13())

    def coordinates(self) -> str:
        """A place."""
        return f"{self.faker.latitude()}, {self.faker.longitude()}"

    def model(self) -> str:
        """A model's name."""
        return self.random.choice([
            "gpt-4o-2024-08-06", "claude-3-5-sonnet-20241022", "meta-llama/Llama-3.1-8B-Instruct",
        ])  # fmt: skip

    def part(self) -> str:
        """A part number."""
        return f"{self.digits(4)}-{self.digits(4)}-{self.random.choice(string.ascii_uppercase)}"

    def serial(self) -> str:
        """A device's serial number."""
        return "".join(self.random.choices(string.ascii_uppercase + DIGITS, k=12))


KINDS = {"email": "EMAIL", "phone": "PHONE", "card": "CARD", "iban": "IBAN", "ip": "IP"}


IDS_OF = {locale: [name for name in NATIONAL_IDS if name[:2] == code] for locale, code in [
    ("en_US", "US"), ("en_GB", "UK"), ("de_DE", "DE"), ("fr_FR", "FR"), ("es_ES", "ES"),
    ("it_IT", "IT"), ("nl_NL", "NL"), ("sv_SE", "SE"), ("pl_PL", "PL"), ("pt_BR", "BR"),
    ("en_IN", "IN"),
]}  # fmt: skip
ID_LABELS = {
    "US SSN": ["SSN", "social security number", "Social Security No."],
    "UK NINO": ["NI number", "National Insurance number", "NINO"],
    "UK NHS": ["NHS number", "NHS no", "nhs_number"],
    "DE Steuer-ID": ["Steuer-ID", "Identifikationsnummer", "IdNr", "tax id"],
    "FR NIR": ["numéro de sécurité sociale", "NIR", "n° sécu"],
    "ES DNI": ["DNI", "NIF", "documento"], "ES NIE": ["NIE", "documento"],
    "IT codice fiscale": ["codice fiscale", "C.F.", "tax code"],
    "NL BSN": ["BSN", "burgerservicenummer", "bsn-nummer"],
    "SE personnummer": ["personnummer", "pnr", "personal number"],
    "PL PESEL": ["PESEL", "nr PESEL", "numer ewidencyjny"],
    "BR CPF": ["CPF", "CPF do titular", "documento"],
    "IN Aadhaar": ["Aadhaar", "Aadhaar number", "UIDAI no"], "IN PAN": ["PAN", "PAN card"],
}  # fmt: skip


def texts(count: int, seed: int) -> list[Text]:
    """Return labelled texts, the locales in turn; the same for the same seed."""
    authors = [Author(locale, seed) for locale in LOCALES]
    return [authors[number % len(authors)].write() for number in range(count)]
