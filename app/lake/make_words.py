"""The vocabulary of a made lake, as tables: clients, places, campaigns, who does what how often,
the texts of payloads and pages. Templates: `$name` is filled in by app.lake.make_text.
"""

from __future__ import annotations

from collections.abc import Mapping

SITE = "https://clearframe.example"

APPS = (
    ("web", "2026.40", "20264001"),
    ("web", "2026.41", "20264102"),
    ("ios", "8.14.2", "81402"),
    ("android", "8.13.0", "81300"),
)
WEB_APPS = 2
"""The first ones of APPS; the others are native and send app.start and app.end."""

DEVICES = (
    ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/143.0", "Windows 11", "PC", "en-US"),
    ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) Safari/18.1", "macOS 15", "MacBook", "en-GB"),
    ("Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0.0.0", "Linux", "PC", "de-DE"),
    ("Mozilla/5.0 (iPad; CPU OS 18_1) Safari/18.1", "iPadOS 18", "iPad", "fr-FR"),
    ("Clearframe/8.14.2 (iPhone15,3; iOS 18.1)", "iOS 18", "iPhone 15", "en-US"),
    ("Clearframe/8.14.2 (iPhone17,1; iOS 26.0)", "iOS 26", "iPhone 17", "pt-BR"),
    ("Clearframe/8.13.0 (Pixel 9; Android 16)", "Android 16", "Pixel 9", "en-GB"),
    ("Clearframe/8.13.0 (SM-S931B; Android 15)", "Android 15", "Galaxy S25", "es-ES"),
)
DEVICES_OF_APP = ((0, 1, 2, 3), (0, 1, 2, 3), (4, 5, 4, 5), (6, 7, 6, 7))

PLACES = (
    ("US", "CA", "Oakland"),
    ("US", "NY", "New York"),
    ("US", "TX", "Austin"),
    ("GB", "ENG", "Leeds"),
    ("DE", "BE", "Berlin"),
    ("DE", "NW", "Köln"),
    ("FR", "IDF", "Paris"),
    ("BR", "SP", "São Paulo"),
    ("ES", "MD", "Madrid"),
    ("NL", "NH", "Amsterdam"),
)

CAMPAIGNS = (
    ("digest", "email", "weekly-2026-40"),
    ("digest", "email", "weekly-2026-41"),
    ("alert", "email", "new-in-your-city"),
    ("alert", "inapp", "price-drop"),
    ("search", "cpc", "brand"),
    ("search", "cpc", "wedding-autumn"),
    ("referral", "web", "invite-a-friend"),
    ("sharecard", "web", "gallery-share"),
)
TOKENED_MEDIA = ("email", "inapp")
"""Only what was sent to one person carries a click token."""

POOLS: Mapping[str, tuple[str, ...]] = {
    "bool": ("true", "false"),
    "var": ("control", "a", "b"),
    "exp": ("exp_search_rank_v3", "exp_checkout_onepage", "exp_profile_cover", "exp_home_hero"),
    "q": (
        "wedding photographer",
        "family portrait outdoor",
        "fot\\u00f3grafo boda",
        "Bewerbungsfoto Köln",
        "studio with daylight",
        'portrait \\"editorial\\" b/w',
        "newborn",
        "drone 4k",
    ),
    "sort": ("relevance", "price", "distance", "rating"),
    "style": ("wedding", "portrait", "product", "event", "real-estate"),
    "scope": ("people", "studios", "all"),
    "city": ("oakland", "new-york", "leeds", "berlin", "paris", "sao-paulo", "madrid"),
    "slug": ("how-payments-work", "cancel-a-booking", "delete-my-account", "share-a-gallery"),
    "kind": ("confirm_date", "send_gallery", "review", "add_details"),
    "delta": ("1", "2", "3", "-1"),
    "step": ("details", "payment", "review"),
    "topic": ("booking", "payment", "gallery", "account"),
    "reason": ("not_received", "not_as_described", "unknown_charge"),
    "alert": ("new_in_city", "price_drop", "back_in_town"),
    "digest": ("weekly-2026-40", "weekly-2026-41"),
    "number": tuple(str(n) for n in range(1, 65)),
    "big": tuple(str(7919 * n % 999983) for n in range(1, 257)),
}

CONTEXTS = ("person", "studio")
METHODS = ("card", "sepa", "paypal", "wallet")
STATUSES = ("abandoned", "paid", "refunded", "disputed", "charged_back")

ANONYMOUS: Mapping[str, int] = {
    "landing.view": 14,
    "search.query": 20,
    "search.result_click": 14,
    "suggest.view": 10,
    "profile.view": 24,
    "studio.view": 8,
    "help.view": 5,
    "help.feedback": 1,
    "digest.open": 2,
    "digest.click": 1,
}
BUYER: Mapping[str, int] = {
    "search.query": 18,
    "search.result_click": 14,
    "suggest.view": 8,
    "profile.view": 22,
    "studio.view": 7,
    "thread.open": 9,
    "action_card.open": 4,
    "action_card.complete": 2,
    "growth.alert.open": 2,
    "growth.alert.click": 1,
    "digest.open": 2,
    "digest.click": 1,
    "book_again.click": 2,
    "referral.invite": 1,
    "referral.accept": 1,
    "referral.award": 1,
    "referral.clawback": 1,
    "support.case.open": 1,
    "support.case.resolve": 1,
    "consent.update": 1,
    "help.view": 2,
    "help.feedback": 1,
}
PROVIDER: Mapping[str, int] = {
    "profile.view": 20,
    "studio.view": 10,
    "thread.open": 26,
    "action_card.open": 12,
    "action_card.complete": 10,
    "search.query": 4,
    "growth.alert.open": 3,
    "digest.open": 2,
    "support.case.open": 1,
    "support.case.assign": 1,
    "support.case.resolve": 1,
    "referral.invite": 1,
    "referral.award": 1,
    "consent.update": 1,
    "help.view": 2,
}

_MONEY = '{"order_id":"$order","amount_cents":$cents,"provider_id":"$provider"'
_CARD = '{"kind":"$kind","order_id":"$order","delta":$delta,"$other_key":"$other"}'
_REFERRAL = '{"code":"R$big","amount_cents":1500}'
_CONSENT = '"marketing_email":$bool,"marketing_push":$bool2,"analytics":$bool3'
_CHECKOUT = '"order_id":"$order","context":"$context","subtotal_cents":$cents'
_CASE = '{"case_id":"case_$big","topic":"$topic"}'

PAYLOADS: Mapping[str, tuple[str, ...]] = {
    "consent.update": ("{" + _CONSENT + ',"policy_version":"2026-05"}',),
    "search.query": (
        *('{"q":"$q","filters":{"city":"$city","style":"$style"},"sort":"$sort","results":$big}',)
        * 15,
        '{"q":"$q by $provider","filters":{"city":"$city"},"sort":"$sort","results":1}',
    ),
    "search.result_click": ('{"hit_id":"$profile","rank":$number,"scope":"$scope"}',),
    "suggest.view": (
        '{"scope":"$scope","q":"$q","items":["$profile","$provider","$studio"]}',
        '{"scope":"$scope","q":"$q","items":[]}',
    ),
    "profile.view": (
        '{"profile_id":"$profile","role":"provider","verified":$bool}',
        '{"profile_id":"$profile","role":"provider","verified":$bool,"provider_id":"$provider"}',
    ),
    "studio.view": ('{"studio_id":"$studio","verified":$bool,"provider_id":"$provider"}',),
    "thread.open": (
        '{"thread_id":"$thread","counterpart_role":"$other_role","$other_key":"$other"}',
    ),
    "action_card.open": (_CARD,),
    "action_card.complete": (_CARD,),
    "checkout.start": ("{" + _CHECKOUT + ',"provider_id":"$provider"}',),
    "checkout.payment_succeeded": (
        '{"order_id":"$order","amount_cents":$cents,"method":"$method"}',
    ),
    "checkout.abandon": ('{"order_id":"$order","step":"$step"}',),
    "growth.alert.open": ('{"alert":"$alert"}',),
    "growth.alert.click": ('{"alert":"$alert","hit_id":"$profile"}',),
    "digest.open": ('{"digest":"$digest"}',),
    "digest.click": ('{"digest":"$digest","hit_id":"$profile"}',),
    "book_again.click": ('{"provider_id":"$provider"}',),
    "referral.invite": ('{"code":"R$big"}',),
    "referral.accept": ('{"code":"R$big","user_id":"$buyer"}',),
    "referral.award": (_REFERRAL,),
    "referral.clawback": (_REFERRAL,),
    "landing.view": ('{"city":"$city","role":"buyer"}', '{"city":"$city","role":"provider"}'),
    "help.view": ('{"slug":"$slug"}',),
    "help.feedback": ('{"slug":"$slug","helpful":$bool}',),
    "support.case.open": (_CASE,),
    "support.case.assign": (_CASE,),
    "support.case.resolve": (_CASE,),
    "refund.proposed": (_MONEY + "}",),
    "refund.succeeded": (_MONEY + "}",),
    "refund.failed": (_MONEY + ',"note":"bank declined"}',),
    "chargeback.open": (_MONEY + ',"reason":"$reason"}',),
    "chargeback.submit": (_MONEY + ',"reason":"$reason","evidence":["$thread"]}',),
    "chargeback.closed": (_MONEY + ',"reason":"$reason"}',),
    "exp.view": ('{"exp_id":"$exp","var":"$var"}',),
    "exp.convert": ('{"exp_id":"$exp","order_id":"$order"}',),
    "identity.link": ('{"user_id":"$owner","anon_id":"$anon","device_fp":"$device"}',),
}
"""By event name; several: one is drawn. A name that is not here has an empty payload."""

_ORDER_PATHS = ("/orders/$order",)
PATHS: Mapping[str, tuple[str, ...]] = {
    "landing.view": ("/", "/$city", "/$city/$style", "/join?ref=$buyer"),
    "search.query": ("/search?city=$city", "/search"),
    "search.result_click": ("/search?city=$city&page=2",),
    "suggest.view": ("/search",),
    "profile.view": ("/p/$profile", "/u/$provider", "/u/$provider/portfolio", "/p/$profile"),
    "studio.view": ("/studios/$studio",),
    "thread.open": ("/messages/$thread", "/messages/with/$other", "/messages?with=$other_escaped"),
    "action_card.open": _ORDER_PATHS,
    "action_card.complete": _ORDER_PATHS,
    "checkout.start": ("/checkout/$order", "/book/$provider/checkout"),
    "checkout.payment_succeeded": _ORDER_PATHS,
    "checkout.abandon": ("/checkout/$order",),
    "refund.proposed": _ORDER_PATHS,
    "chargeback.open": _ORDER_PATHS,
    "book_again.click": ("/u/$provider?again=1",),
    "consent.update": ("/account/$owner/privacy",),
    "identity.link": ("/login", "/login?next=%2Fmessages"),
    "help.view": ("/help/$slug",),
    "help.feedback": ("/help/$slug",),
}
DEFAULT_PATHS = ("/", "/home")

REFS = (
    "https://www.google.example/",
    SITE + "/search?city=$city",
    SITE + "/p/$profile",
    SITE + "/u/$provider",
    SITE + "/login?next=%2Fu%2F$provider",
    SITE + "/login?next=%2Fmessages%2F$provider_escaped",
)
"""Where a page was reached from. Ids of people stand in some, percent-encoded in a few."""
LOGIN_REFS = (
    SITE + "/login?next=%2Faccount%2F$owner_escaped",
    SITE + "/logout?was=$owner",
)
"""On rows before a login: nobody's rows that name their person in a URL."""
