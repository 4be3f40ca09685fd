"""Updates as Telegram documents them, by kind; the persons are invented.

https://core.telegram.org/bots/api#update (Bot API 10.0).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ANA = {"id": 551234, "is_bot": False, "first_name": "Ana", "last_name": "Díaz", "username": "anad"}
BOT = {"id": 123456, "is_bot": True, "first_name": "Desk", "username": "desk_bot"}
PRIVATE = {"id": 551234, "type": "private", "first_name": "Ana", "username": "anad"}
GROUP = {"id": -1001234, "type": "supergroup", "title": "Team", "is_forum": True}
NEWS = {"id": -1009999, "type": "channel", "title": "News", "username": "news"}
DATE = 1795359845
FILE = {"file_id": "BQACAgQ", "file_unique_id": "AgAD", "file_size": 24631}
THUMB = {"file_id": "AAMC", "file_unique_id": "AQAD", "file_size": 900, "width": 90, "height": 67}


def message(**fields: Any) -> dict[str, Any]:
    """Return a message of Ana's to the bot."""
    return {"message_id": 88, "from": ANA, "chat": PRIVATE, "date": DATE, **fields}


def in_group(**fields: Any) -> dict[str, Any]:
    return message(chat=GROUP, **fields)


CONTENTS: Mapping[str, dict[str, Any]] = {
    "text": {"text": "/start hello", "entities": [{"offset": 0, "length": 6, "type": "bot_command"}]},
    "photo": {"photo": [THUMB, {**FILE, "width": 1280, "height": 960}], "caption": "broken part"},
    "document": {"document": {**FILE, "file_name": "plan.pdf", "mime_type": "application/pdf"}},
    "voice": {"voice": {**FILE, "duration": 4, "mime_type": "audio/ogg"}},
    "audio": {"audio": {**FILE, "duration": 180, "performer": "The Gulls", "title": "Tide"}},
    "video": {"video": {**FILE, "duration": 9, "width": 640, "height": 480, "mime_type": "video/mp4"}},
    "video_note": {"video_note": {**FILE, "duration": 5, "length": 240}},
    "animation": {
        "animation": {**FILE, "duration": 2, "width": 320, "height": 240, "mime_type": "video/mp4"},
        "document": {**FILE, "mime_type": "video/mp4"},
    },
    "sticker": {
        "sticker": {
            **FILE,
            "type": "regular",
            "width": 512,
            "height": 512,
            "is_animated": False,
            "is_video": False,
            "emoji": "👋",
        }
    },
    "location": {"location": {"latitude": 52.52, "longitude": 13.4}},
    "venue": {
        "location": {"latitude": 52.52, "longitude": 13.4},
        "venue": {
            "location": {"latitude": 52.52, "longitude": 13.4},
            "title": "Café",
            "address": "Main Street 1",
        },
    },
    "contact": {"contact": {"phone_number": "+14165550123", "first_name": "Ben", "user_id": 77}},
    "poll": {
        "poll": {
            "id": "5",
            "question": "When?",
            "options": [
                {"text": "8", "voter_count": 0, "persistent_id": "a"},
                {"text": "9", "voter_count": 1, "persistent_id": "b"},
            ],
            "total_voter_count": 1,
            "is_closed": False,
            "is_anonymous": True,
            "type": "regular",
            "allows_multiple_answers": False,
            "allows_revoting": False,
            "members_only": False,
        }
    },
    "dice": {"dice": {"emoji": "🎲", "value": 4}},
    "game": {"game": {"title": "Chess", "description": "Play", "photo": [THUMB]}},
    "story": {"story": {"chat": NEWS, "id": 3}},
    "invoice": {
        "invoice": {
            "title": "Tea",
            "description": "Green",
            "start_parameter": "t",
            "currency": "EUR",
            "total_amount": 350,
        }
    },
    "paid_media": {
        "paid_media": {
            "star_count": 5,
            "paid_media": [{"type": "preview", "width": 10, "height": 10, "duration": 3}],
        }
    },
    "checklist": {"checklist": {"title": "Buy", "tasks": [{"id": 1, "text": "tea"}]}},
}
"""What a message may hold."""

SERVICES: Mapping[str, dict[str, Any]] = {
    "new_chat_members": {"new_chat_members": [ANA]},
    "left_chat_member": {"left_chat_member": ANA},
    "new_chat_title": {"new_chat_title": "The team"},
    "new_chat_photo": {"new_chat_photo": [THUMB]},
    "delete_chat_photo": {"delete_chat_photo": True},
    "group_chat_created": {"group_chat_created": True},
    "supergroup_chat_created": {"supergroup_chat_created": True},
    "message_auto_delete_timer_changed": {
        "message_auto_delete_timer_changed": {"message_auto_delete_time": 86400}
    },
    "pinned_message": {"pinned_message": message(text="pinned")},
    "forum_topic_created": {"forum_topic_created": {"name": "Bugs", "icon_color": 7322096}},
    "forum_topic_closed": {"forum_topic_closed": {}},
    "video_chat_started": {"video_chat_started": {}},
    "video_chat_ended": {"video_chat_ended": {"duration": 60}},
    "web_app_data": {"web_app_data": {"data": "d", "button_text": "b"}},
    "users_shared": {"users_shared": {"request_id": 1, "users": [{"user_id": 77}]}},
    "successful_payment": {
        "successful_payment": {
            "currency": "EUR",
            "total_amount": 350,
            "invoice_payload": "p",
            "telegram_payment_charge_id": "t",
            "provider_payment_charge_id": "p",
        }
    },
    "a_kind_of_next_year": {"a_kind_of_next_year": {"x": 1}},
}
"""What may have happened in a chat."""

MEMBER = {"user": ANA, "status": "member"}
LEFT = {"user": ANA, "status": "left"}
INVITE = {
    "chat": GROUP,
    "from": ANA,
    "date": DATE,
    "old_chat_member": {"user": BOT, "status": "left"},
    "new_chat_member": {"user": BOT, "status": "member"},
}
BUSINESS = {"business_connection_id": "bc-1"}
OTHERS: Mapping[str, dict[str, Any]] = {
    "edited_message": message(text="better", edit_date=DATE + 5),
    "channel_post": {"message_id": 5, "sender_chat": NEWS, "chat": NEWS, "date": DATE, "text": "news"},
    "edited_channel_post": {
        "message_id": 5,
        "sender_chat": NEWS,
        "chat": NEWS,
        "date": DATE,
        "edit_date": DATE + 1,
        "text": "more news",
    },
    "business_message": message(text="is the shop open?", **BUSINESS),
    "edited_business_message": message(text="is it open?", edit_date=DATE + 1, **BUSINESS),
    "deleted_business_messages": {"chat": PRIVATE, "message_ids": [88, 89], **BUSINESS},
    "callback_query": {
        "id": "4382bf",
        "from": ANA,
        "message": {
            "message_id": 90,
            "from": BOT,
            "chat": PRIVATE,
            "date": DATE,
            "text": "Pick",
            "reply_markup": {"inline_keyboard": [[{"text": "Order 42", "callback_data": "order:42"}]]},
        },
        "chat_instance": "-31",
        "data": "order:42",
    },
    "message_reaction": {
        "chat": PRIVATE,
        "message_id": 88,
        "user": ANA,
        "date": DATE,
        "old_reaction": [{"type": "emoji", "emoji": "👎"}],
        "new_reaction": [{"type": "emoji", "emoji": "👍"}],
    },
    "my_chat_member": INVITE,
    "chat_member": {
        "chat": GROUP,
        "from": ANA,
        "date": DATE,
        "old_chat_member": LEFT,
        "new_chat_member": MEMBER,
    },
}
"""Updates that are no new message, and go into a timeline."""

NO_MESSAGES: Mapping[str, dict[str, Any]] = {
    "inline_query": {"id": "9", "from": ANA, "query": "tea", "offset": ""},
    "chosen_inline_result": {"result_id": "1", "from": ANA, "query": "tea"},
    "shipping_query": {
        "id": "9",
        "from": ANA,
        "invoice_payload": "p",
        "shipping_address": {
            "country_code": "DE",
            "state": "",
            "city": "Berlin",
            "street_line1": "1",
            "street_line2": "",
            "post_code": "1",
        },
    },
    "pre_checkout_query": {
        "id": "9",
        "from": ANA,
        "currency": "EUR",
        "total_amount": 350,
        "invoice_payload": "p",
    },
    "purchased_paid_media": {"from": ANA, "paid_media_payload": "p"},
    "poll": CONTENTS["poll"]["poll"],
    "poll_answer": {"poll_id": "5", "user": ANA, "option_ids": [0], "option_persistent_ids": ["a"]},
    "business_connection": {
        "id": "bc-1",
        "user": ANA,
        "user_chat_id": 551234,
        "date": DATE,
        "is_enabled": True,
    },
    "message_reaction_count": {
        "chat": NEWS,
        "message_id": 5,
        "date": DATE,
        "reactions": [{"type": {"type": "emoji", "emoji": "👍"}, "total_count": 3}],
    },
    "chat_join_request": {"chat": GROUP, "from": ANA, "user_chat_id": 551234, "date": DATE},
}
"""Updates that are about no chat, or ask what a timeline has no answer to."""
