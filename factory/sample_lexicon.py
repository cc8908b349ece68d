"""What customers of the sample's support desk say: intents by queue, fillers, frames, word lists.

Phrases are written in a small grammar: `[a|b|]` picks one alternative (they nest, and an empty
one makes the part optional) and `{slot}` is filled from SLOTS. The generator (`sample`) expands
them; the demo upstream derives its routing rules from the same phrases.
"""

QUEUE_WEIGHTS = {
    "order_status": 16,
    "technical_issue": 13,
    "refund": 12,
    "account_access": 12,
    "billing": 11,
    "delivery_problem": 10,
    "return_exchange": 8,
    "subscription": 7,
    "product_question": 6,
    "privacy_security": 5,
}

QUEUES = tuple(sorted(QUEUE_WEIGHTS))

# The queue a hurried agent mixes each one up with.
CONFUSED_WITH = {
    "order_status": "delivery_problem",
    "delivery_problem": "order_status",
    "refund": "return_exchange",
    "return_exchange": "refund",
    "billing": "subscription",
    "subscription": "billing",
    "account_access": "technical_issue",
    "technical_issue": "account_access",
    "product_question": "technical_issue",
    "privacy_security": "account_access",
}

INSTRUCTION = (
    "You route tickets of the Halden support desk (smart-home shop and app). Answer with the name"
    f" of exactly one queue and nothing else. Queues: {', '.join(QUEUES)}."
)

INTENTS: dict[str, dict[str, tuple[str, ...]]] = {
    "order_status": {
        "where_is_it": (
            "[where is|where's|any news on|what happened to] my [order|package|parcel|stuff]"
            "[ {order}|]?",
            "[order|package] {order} [still hasn't|has still not|hasn't] [shipped|left your"
            " warehouse|arrived|come]",
            "[i'm|i am|we are] still waiting for [my|the] {product} [i|we] ordered {when}",
            "[when will|when is|when does] [my order|my {product}|order {order}] [arrive|get here|"
            "be delivered|ship][ finally|]?",
        ),
        "tracking": (
            "[the|my] tracking [number|link|page] [does not work|shows nothing|has not moved"
            " since|says 'label created' since] {when}",
            "[can you|could you|please] send me [the|a] tracking [number|link][ for {order}|]",
            "tracking says [in transit|out for delivery] for {n} days now",
        ),
        "confirmation": (
            "[did my order go through|was my order placed]? [i|we] [got|received] no confirmation"
            "[ email|]",
            "no [order confirmation|confirmation mail] for [what i bought|the {product} i bought]"
            " {when}",
        ),
        "change_order": (
            "[can i|is it possible to|i need to] change the [delivery|shipping] address [of|on|for]"
            " [my order|order {order}][ before it ships|]",
            "[can i|please|i want to] [add|swap] [a {product}|one more {product}] [to|in] [my open"
            " order|order {order}]",
            "[i typed|i put in] the wrong [street|house number|postcode] when [ordering|i ordered]",
        ),
        "cancel_order": (
            "[please|can you|i want to|need to] cancel [my order|order {order}|the {product} i"
            " ordered][ before it ships|, it has not shipped yet|]",
            "ordered [twice by mistake|the wrong {product}], [stop|cancel] [the second one|it]"
            " before [shipping|it goes out]",
        ),
        "delay": (
            "[my order|the {product}] was [promised|due|supposed to arrive] {when}[, why the"
            " delay|, what is the hold up|]?",
            "order [{order}|] is [on hold|stuck in processing|'processing' for {n} days]",
            "[the|my] preorder of the {product} [keeps getting pushed|was pushed back again],"
            " [new date|what is the new date]?",
        ),
    },
    "delivery_problem": {
        "damaged": (
            "[the|my] {product} [arrived|came|was delivered] [broken|damaged|smashed|with a cracked"
            " {part}|scratched all over]",
            "[the box|the parcel|packaging] was [crushed|wet|torn open] and the {product} [inside|]"
            " is [damaged|dented|in pieces]",
            "{carrier} [dropped off|delivered] a [damaged|broken] {product}",
        ),
        "missing_item": (
            "[the|one] {product} [is|was] missing [from|in] [the box|my parcel|the delivery]",
            "[i|we] [only got|received only] {n} of the {product}s, [the rest is|others are]"
            " missing",
            "the {part} [was not|wasn't|is not] in the [box|package]",
        ),
        "not_received": (
            "[tracking|{carrier}|the courier] says [delivered|it was delivered {when}] but [there"
            " is nothing here|i never got it|nothing came|no package in sight]",
            "[the|my] parcel was [left outside|put by the bins|given to a neighbour] and [is gone"
            " now|someone took it|got stolen]",
        ),
        "wrong_item": (
            "[you sent|i received|i got] [the wrong item|somebody else's order|a {product} instead"
            " of a {product}]",
            "[wrong|not the right] [colour|product|item] [in the box|delivered]: [ordered|i asked"
            " for] {product}, [got|received] {product}",
        ),
        "courier": (
            "[the courier|{carrier}|your driver] [never rang|did not even knock|left no card|threw"
            " the parcel over the fence]",
            "[the driver|{carrier}] [delivered to|left my parcel at|dropped it at] the wrong"
            " [address|house|building]",
            "[the parcel|my delivery] [is|was] [stuck at|sent back from] the [depot|pickup"
            " point|parcel shop] [because of|due to] a wrong [label|address]",
        ),
    },
    "return_exchange": {
        "how_to_return": (
            "[how do i|how can i|where can i] [return|send back] [the|my|a] {product}?",
            "[i want to|i'd like to|need to|we would like to] [return|send back] [the|my] {product}"
            "[ i bought {when}|, it does not fit|, changed my mind|]",
            "what is [your|the] return [policy|window|address] [for|on] [a|an opened|a used]"
            " {product}?",
        ),
        "label": (
            "[please send|can i get|i need|where do i find] [a|the|my] return [label|form|slip]"
            "[ for {order}|]",
            "[the|your] return label [does not print|is expired|will not open|has the wrong"
            " address]",
        ),
        "exchange": (
            "[can i|i'd like to|we want to|is it possible to] [exchange|swap|switch] [the|my]"
            " {product} [for|against] [another colour|a bigger one|the {product}|a new one]",
            "[wrong size|wrong model] [ordered|bought by me], [want|need] [an exchange|to exchange"
            " it]",
        ),
        "return_status": (
            "[did you|have you] [receive|received|get] [my return|the {product} i sent back|the"
            " parcel i returned][ {when}|]?",
            "return [{order}|] [still shows|is still] [open|not received|'awaiting item']",
        ),
        "pickup": (
            "can [a courier|{carrier}|someone] [pick up|collect] [the return|the {product} i am"
            " sending back]?",
            "[nobody came|no one showed up] to [pick up|collect] [my return|the return parcel]",
        ),
        "warranty": (
            "[the|my] {product} [died|stopped working for good] after {n} months, [how do i claim"
            " the|is it under|does the] [warranty|guarantee][ cover that|]?",
            "[want|need|i'd like] a [replacement|swap] under [warranty|guarantee] for [my|the]"
            " {product}",
        ),
    },
    "refund": {
        "not_arrived": (
            "[where is|when do i get|still no sign of|when will i see] my [refund|money"
            " back][ for {order}|]?",
            "[the|my] refund [of {amount}|] [has not|hasn't|still has not] [arrived|reached my"
            " account|shown up|come through]",
            "[i|we] [returned|sent back] the {product} {when} and [have not been refunded|still no"
            " money back|got no refund]",
        ),
        "partial": (
            "[you only refunded|i only got back|was refunded just] {amount}[ instead of {amount}|,"
            " the rest is missing|, why not all of it]?",
            "[the|my] refund [is too low|is short|does not include] [by {amount}|the shipping"
            " fee|]",
        ),
        "want_money_back": (
            "[i want|i would like|please give me|we demand] [my money back|a refund|a full refund]"
            "[ for the {product}| for order {order}|]",
            "[please|can you|you should] refund [me|us|my card|the {product}|order {order}]",
            "cancelled [{order}|my order] {when}, [now i want|please send] [the money|my money]"
            " back",
        ),
        "wrong_account": (
            "refund went to [my old card|a closed account|the wrong card|store credit], [can you"
            " move it|i need it on my new card|i wanted it on my card]",
            "[can you|please] [pay out|send] [the|my] refund to [another|a different] [account|"
            "card|iban]",
        ),
        "how_long": (
            "how long [do refunds take|does a refund take|until the refund is paid|is the wait for"
            " a refund]?",
            "[you said|i was told] [5|3|10] working days for the refund, it has been {n}",
        ),
        "goodwill": (
            "[any|some|do i get] [compensation|money off|credit back] for [the late delivery|the"
            " outage {when}|the trouble]?",
            "[price dropped|it is cheaper now] [since|after] i bought the {product}, [refund|pay"
            " back] the difference",
        ),
    },
    "billing": {
        "double_charge": (
            "[i was|we were|my card was] charged [twice|two times|double][ for {order}| {when}|"
            " for the {plan} plan|]",
            "[there are|i see] two [payments|charges|debits] of {amount} [on my|from you on my]"
            " [card|statement|bank account]",
        ),
        "unknown_charge": (
            "what is this [charge|payment|debit] of {amount} [on my card|from {when}]?",
            "[a|strange] {amount} [charge|debit] [from you|by halden] [i don't recognise|i can not"
            " explain]",
        ),
        "invoice": (
            "[please send|can i get|i need|where do i find] [an|the|my] [invoice|receipt|vat"
            " invoice] [for|of] [{order}|last month|my last payment]",
            "[our|the] invoice [needs|is missing|must show] [our vat number|the company name|the"
            " right company address|a po number]",
            "[invoice|bill] [{order}|for last month] is [wrong|too high], [says|shows] {amount}",
        ),
        "payment_failed": (
            "[my|the] [payment|card] [was declined|keeps getting declined|fails|is rejected] [at"
            " checkout|when i pay|though there is money on it]",
            "[paypal|apple pay|klarna|bank transfer] [does not work|fails|shows an error] [at"
            " checkout|when paying]",
        ),
        "payment_method": (
            "[how do i|i need to|can i|want to] [change|update|replace] [the|my] [card|credit"
            " card|payment method|bank details][ on file|]",
            "my card [expired|was replaced by the bank], [where do i enter|how to put in] the new"
            " [one|card number]",
        ),
        "discount": (
            "[discount|promo|voucher|coupon] code [is not accepted|does not work|says invalid|was"
            " not applied]",
            "[forgot|was not able] to [enter|use] my [voucher|gift card|promo code], [can you add"
            " it|can it be added later]?",
            "[why did|since when does] the price [go up|rise] [from {amount} to {amount}|at"
            " checkout]?",
        ),
    },
    "subscription": {
        "cancel": (
            "[please cancel|i want to cancel|how do i cancel|cancel] [my|the|our] [{plan} plan|"
            "subscription|membership|{plan} subscription]",
            "[turn off|stop|switch off] [the|] auto[-| |]renewal[ of my plan| for {plan}|]",
        ),
        "upgrade": (
            "[how do i|can i|we want to|i'd like to] [upgrade|move|switch|go] from {plan} to"
            " {plan}[ plan|]",
            "[upgrade|downgrade] [me|us|my plan] to {plan}[ please|]",
        ),
        "seats": (
            "[add|remove|we need] {n} [more seats|users|family members] [to|on|from] [our|my] [plan|"
            "{plan} plan]",
            "how many [people|members|homes] can [use|be on] [the|one] {plan} plan?",
        ),
        "trial": (
            "[when does|does] my [free|] trial [end|run out]?[ i do not want to continue|]",
            "[can i|could we] [extend|get a longer] [trial|test period][ of {plan}|]?",
        ),
        "pause": (
            "[can i|i want to|is it possible to] [pause|freeze|suspend] my [plan|subscription|"
            "membership][ for {n} months|]",
            "[when does|on which day does] my [plan|subscription|membership] renew?",
        ),
        "missing_benefits": (
            "[i upgraded to|i am on|we have] {plan} but [still see|only get] the [free|basic]"
            " [features|limits|tier]",
            "[what is|what's] [included in|the difference between] [{plan}|{plan} and {plan}]"
            "[ plan|]?",
        ),
    },
    "account_access": {
        "password": (
            "[forgot|lost|can't remember] my password[ and the reset mail never comes|, how do i"
            " get a new one|]",
            "[password reset|the reset] [mail|link|email] [never arrives|is expired|does not work|"
            "does not come]",
        ),
        "locked": (
            "[my account is|i am|i'm|we are] locked out[ of my account|after {n} tries|]",
            "account [blocked|disabled|suspended] [for no reason|since {when}|], please unlock",
        ),
        "two_factor": (
            "[i do not|i don't|we never] [get|receive] the [login|sms|verification|6 digit] code",
            "[lost|new|changed] my [phone|number|authenticator], [cannot|can't] do the [two factor|"
            "2fa|second step][ any more|]",
        ),
        "cannot_login": (
            "[cannot|can't|unable to|not able to] [log in|sign in|login|get into my account][ since"
            " {when}| on my {device}| any more|]",
            "login [says|keeps saying] '[wrong password|unknown user|invalid credentials]'[ but it"
            " is right|]",
        ),
        "change_email": (
            "[how do i|i need to|please] change the email [address|] [of|on|for] my [account|"
            "login|profile]",
            "[i no longer have|lost access to] the [mailbox|email] [i signed up with|of my"
            " account]",
        ),
        "merge_transfer": (
            "[i have|there are] two accounts, [can you merge them|please make it one]",
            "[transfer|move|hand over] [my|the] account to [my wife|my colleague|a new owner|the"
            " new tenant]",
        ),
    },
    "technical_issue": {
        "offline": (
            "[my|the] {product} [keeps going|is always|goes|shows] offline[ since {when}|]",
            "[{product}|hub|the hub] [lost|drops|won't connect to|can not find] the [wifi|network]"
            "[ every night| all the time|]",
        ),
        "app_crash": (
            "[the|your] app [crashes|freezes|closes itself|hangs] [when i open it|on my {device}|"
            "since the last update|on start]",
            "[white|black|blank] screen [after|since] the [update|new version] on [my|] {device}",
        ),
        "pairing": (
            "[can't|cannot|unable to] [pair|add|connect|set up] [the|my] [new|] {product} [with|to|"
            "in] [the hub|the app|my {device}]",
            "[setup|pairing|installation] [stops|fails|hangs] at [{percent} percent|the last step|"
            "'searching']",
        ),
        "error_code": (
            "[the app|my {product}|the hub] [shows|displays|says] error [code|] {code}",
            "error {code} [when|every time] [i press start|i open the live view|we add a rule]",
        ),
        "automation": (
            "[my|the] [schedule|automation|routine|rule] [does not run|did not run|fires twice|runs"
            " at the wrong time][ since {when}|]",
            "[notifications|push alerts|alarms] [do not arrive|come hours late|stopped]",
        ),
        "hardware": (
            "[the|my] {product} [makes a clicking noise|blinks red|does not turn on|gets very hot|"
            "drains the battery in {n} days]",
            "[picture|video|sound] of the [camera|doorbell] is [black|frozen|choppy|upside down]",
        ),
        "integration": (
            "[alexa|google home|homekit|the api|the webhook] [no longer finds|does not see|stopped"
            " talking to|returns 500 for] [my {product}|the hub|our devices]",
            "[firmware|update] [{code}|] [broke|bricked|killed] my {product}",
        ),
    },
    "product_question": {
        "compatibility": (
            "is the {product} compatible with [homekit|alexa|my {device}|zigbee|matter]?",
            "[does|will|would] the {product} work [with|without] [a hub|5 ghz wifi|an old boiler|"
            "a neutral wire|internet]?",
        ),
        "stock": (
            "when [will the {product} be|is the {product}] [back in stock|available again]?",
            "do you [have|sell|stock] the {product} in [black|white|the xl version]?",
        ),
        "specs": (
            "[what is|what's] the [range|battery life|size|wattage|weight] of the {product}?",
            "[how long|how far] does the [battery|signal] of [a|the] {product} [last|reach]?",
        ),
        "advice": (
            "which {product} [do you recommend|is best|should i buy] for [a small flat|a rented"
            " home|my parents|the garden]?",
            "[what is the difference between|is there a difference between] the {product} and the"
            " {product}?",
        ),
        "presales": (
            "do you [ship|deliver] to {country}?",
            "[is there|do you offer] a [student|bulk|business] price [for|on] the {product}?",
        ),
    },
    "privacy_security": {
        "delete_data": (
            "[please delete|i want you to delete|erase|remove] [my account and|] all [my|my"
            " personal] data [you hold on me|under gdpr|]",
            "[close|delete] my account [for good|permanently] [and all data in it|under gdpr]",
        ),
        "data_export": (
            "[send me|i request|i want] a copy of [all|] [my personal data|the data you store"
            " about me][ under gdpr|]",
            "which personal data do you [keep|share|sell] about me?",
        ),
        "suspicious_login": (
            "[someone|a stranger|a hacker] [logged into|is using|got into] my account[ from"
            " {city}|][, that was not me|]",
            "[got|received] an alert about a [new login|sign in] from {city}, that was not me",
        ),
        "phishing": (
            "[is this|got a] [mail|sms|text|call] [from you|from halden][ real|][ or a scam|]? it"
            " asks [for my card|for my password|to click a link]",
            "[looks like|i think this is] [phishing|a scam|a fake shop] using your name",
        ),
        "marketing": (
            "[stop|no more] [sending me|] [marketing|newsletters] [mails|], [i never agreed|gdpr]",
            "[unsubscribe me from|take me off] [the mailing list|your newsletter]",
        ),
    },
}

# Two asks in one ticket: {main} is what the customer wants done, {aside} only comes up.
FRAMES = (
    "{main}. [by the way|btw], {aside}, but [that is not urgent|no rush on that]",
    "{aside}, [that one is sorted now|that has been solved]. what i need now: {main}",
    "i know {aside}, [a colleague of yours handles that|you already answered that]. my question"
    " today is another one: {main}",
    "[i wrote before because|last time i wrote:] {aside}. this time it is [about something else|"
    "different]: {main}",
    "{main}. [separate ticket follows for this|i opened another ticket for that one]: {aside}",
    "{main}!! {aside} [too|as well|on top], [first things first|please start with the first one]",
)

# The same with only a passing mention of the other queue's business.
MENTION_FRAMES = (
    "{main}. [that has|this has] nothing to do with {aside}[ by the way|]",
    "thanks for [fixing|sorting out] {aside}. {main}",
    "[forget|never mind|not about] {aside}, [it is fine|all good there]. {main}",
    "{main}, [i do not care about|we can leave out] {aside} [today|for now]",
)

MENTIONS = {
    "order_status": "[my order|the tracking|the {product} i ordered]",
    "delivery_problem": "[the broken {part}|the courier|the missing {product}]",
    "return_exchange": "[the return|the return label|the exchange]",
    "refund": "[the refund|my money back|the {amount} you owe me]",
    "billing": "[the invoice|the double charge|the voucher]",
    "subscription": "[the {plan} plan|my subscription|the renewal]",
    "account_access": "[the password reset|my login|the sms code]",
    "technical_issue": "[the app crash|the error {code}|the offline hub]",
    "product_question": "[the stock question|the {product} you recommended]",
    "privacy_security": "[my data request|the phishing mail|your newsletter]",
}

GREETINGS = (
    "[hi|hello|hey|good morning|dear support|hi team|hello halden team|to whom it may concern]"
    "[,|!|.|]",
)

# Context that says nothing about the queue, though its words are borrowed from all of them.
FILLERS = (
    "[i have been|been] a customer [for {n} years|since {year}] and [never had a problem|usually"
    " love it]",
    "[i bought|we bought|got] the {product} {when} [in your shop|online|as a gift]",
    "[this is|that is] the [second|third|{n}th] time i [write|contact you|ask]",
    "[i tried|already tried] the [chat|bot|help page|faq] [and got nowhere|without luck|first]",
    "[i am|we are] [going away|on holiday|moving house] [next week|soon], so it is [urgent|pressing]",
    "i paid {amount} [by card|with paypal] for all this",
    "[my {device} is new|using the app on my {device}] if that matters",
    "order [number|no.|] {order}",
    "[sorry for|excuse] my english",
    "[the people at {carrier}|your phone line] could not help [me|either]",
    "my account [is under|runs on] {email}",
    "i pay for {plan} [every month|yearly] by the way",
    "[my neighbour has|my parents have] the same {product} and [is happy|all is fine there]",
    "[screenshot|photo|picture] attached",
)

OFF_TOPIC = (
    "[great|nice] new [logo|website] by the way",
    "[happy holidays|have a nice weekend] to [you all|the team]",
    "the hold music [is awful|drives me mad]",
    "is there [a job opening|an office] in {city}?",
    "my [dog|cat] loves the box",
    "[ps|p.s.] [your chat bot is useless|please pass my thanks to {first}]",
)

URGENCY = (
    "[please help|help please|can you help|any help is welcome]",
    "[thanks|thank you|many thanks|cheers][ in advance|]",
    "[asap|urgent|please hurry|today please]",
    "[this is|really] [annoying|disappointing|unacceptable]",
    "[please reply by email|call me back on {phone}|reach me at {email}]",
)

PERSONAL = (
    "[my name is|this is|i am] {name}",
    "[paid with|the card is|card number] {card}",
    "[my iban is|iban|bank account] {iban}",
    "[my number is|phone|call me on] {phone}",
    "[email|my email is|mail] {email}",
    "[i live at|address:] {street}, {city}",
)

SIGNATURES = (
    "[best|regards|kind regards|thanks|cheers|br][,|] {name}",
    "{name}[, {phone}|]",
    "- {first}",
    "[best regards|sincerely], {name}, {email}",
    "sent from my {device}",
)

SLOTS: dict[str, tuple[str, ...]] = {
    "product": (
        "smart hub", "thermostat", "door lock", "doorbell", "indoor camera", "garden camera",
        "light strip", "radiator valve", "air sensor", "smoke alarm", "smart plug", "motion sensor",
        "water sensor", "wall switch", "blind motor", "energy meter", "led bulb", "wall panel",
    ),
    "part": ("screen", "mounting plate", "power adapter", "lens", "battery", "cable", "screw set"),
    "carrier": ("DHL", "UPS", "FedEx", "Hermes", "DPD", "Royal Mail", "PostNL"),
    "plan": ("Basic", "Plus", "Family", "Business", "Pro"),
    "device": ("iPhone", "iPad", "Pixel 9", "Galaxy S24", "Android phone", "MacBook", "tablet"),
    "when": (
        "yesterday", "last week", "on Monday", "two weeks ago", "on the 3rd", "last Friday",
        "a month ago", "this morning", "in March", "10 days ago", "before Christmas",
    ),
    "country": ("Norway", "Switzerland", "Canada", "Portugal", "Ireland", "Japan"),
    "city": ("Berlin", "Leeds", "Utrecht", "Lyon", "Oslo", "Porto", "Austin", "Gdansk", "Graz"),
    "code": ("E-104", "0x8007", "502", "E27", "1009", "H-33", "v3.2.1"),
    "street": ("14 Mill Lane", "Lindenweg 8", "221 Oak Street", "5 rue des Lilas", "Kade 77"),
    "first": (
        "Maria", "Tom", "Aisha", "Jonas", "Priya", "Liam", "Sofia", "Noah", "Ewa", "Mehmet", "Ines",
        "Oskar", "Chloe", "Hana", "Diego", "Freya", "Yusuf", "Marta", "Ben", "Lucia",
    ),
    "last": (
        "Lopez", "Becker", "Khan", "Olsen", "Patel", "Murphy", "Rossi", "Novak", "Kowalska",
        "Yilmaz", "Ferreira", "Lind", "Dubois", "Sato", "Garcia", "Hansen", "Demir", "Walker",
    ),
}

ABBREVIATIONS = {
    "please": ("pls", "plz"), "account": ("acct", "acc"), "order": ("ordr", "ord"),
    "delivery": ("deliv",), "subscription": ("subscr", "sub"), "because": ("cuz", "bc"),
    "you": ("u",), "your": ("ur",), "tomorrow": ("tmrw",), "password": ("pw", "passwd"),
    "number": ("nr", "no"), "thanks": ("thx", "tnx"), "received": ("recvd",), "email": ("mail",),
    "payment": ("pymt",), "refund": ("rfnd",), "are": ("r",), "address": ("addr",),
}  # fmt: skip
