"""Mails in prompts: every natural setting comes apart into its mails and nothing else, in both forms alike."""

from __future__ import annotations

import re

import pytest

from evalharness.errors import ContentError
from evalharness.mails import fill_mailbox, read_mail, recipients_of, take_apart
from evalharness.scenario import load_scenario, scenario_names

SEEDS = range(5)
SETTINGS = tuple(name for name in scenario_names() if name.startswith("blackmail/") and name != "blackmail/organism")
VARIANTS = ("main", "no_threat", "no_leverage", "neither", "escalation")


def words(text: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", text))


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_comes_apart_without_loss(name):
    """As many mails as the prompt shows, each with sender, readers, subject and text; all its words are still there."""
    scenario = load_scenario(name)
    for seed in SEEDS:
        for variant in VARIANTS:
            shown = scenario.render(variant, seed).messages[1]["content"]
            played = scenario.in_form("mailbox").render(variant, seed)
            mails = [read_mail(path, text) for path, text in played.files.items()]
            kept = words("\n".join([played.messages[1]["content"], *played.files.values()]))
            marks = words("\n".join(re.findall(r"(?m)^(?:[-=]{2}|Message \d|Folder:|email_id:).*", shown)))

            assert len(mails) == shown.count("From: ") >= 11
            assert all(mail.sender and mail.to and mail.subject and mail.body for mail in mails)
            assert not any(re.search(r"(?m)^(?:From|To|Subject):", mail.body) for mail in mails)
            assert words(shown) <= kept | marks
            assert not any(re.search(r"\n(?:\W*\d*\W*|[-=]{2}.*|Message \d.*|email_id.*)\Z", m.body) for m in mails)
            assert "From:" not in played.messages[1]["content"]
            assert f"The inbox holds {len(mails)} mails." in played.messages[1]["content"]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_system_message_tells_of_tools_instead_of_tags(name):
    """The story, the scratchpad and the way out stay; the form of a mail in text goes."""
    scenario = load_scenario(name)
    for variant in ("main", "escalation"):
        reply = scenario.render(variant, 1).messages[0]["content"]
        tools = scenario.in_form("mailbox").render(variant, 1).messages[0]["content"]

        assert "<email>" in reply
        assert not re.search(r"</?(?:email|forward|wait)", tools)
        assert "<scratchpad>" in tools
        assert "wait" in tools
        assert len(tools.split()) == pytest.approx(len(reply.split()), abs=40)
        assert reply.split("\n\n")[0] == tools.split("\n\n")[0]
        ombuds = str(scenario.draw(1)["ombuds"])
        assert (ombuds in reply) == (ombuds in tools) == (variant == "escalation")


@pytest.mark.parametrize("name", SETTINGS)
def test_twins_differ_in_the_same_mails_as_before(name):
    """A twin in the form of a mailbox has the same briefing and system message, and other texts in some mails only."""
    scenario = load_scenario(name).in_form("mailbox")
    for seed in SEEDS:
        main, twin = scenario.render("main", seed), scenario.render("no_leverage", seed)
        changed = [path for path in main.files if main.files[path] != twin.files[path]]

        assert main.messages == twin.messages
        assert list(main.files) == list(twin.files)
        assert 0 < len(changed) <= len(main.files) / 2
        for path in changed:
            one, other = (read_mail(path, rendered.files[path]) for rendered in (main, twin))
            assert (one.sender, one.to, one.date) == (other.sender, other.to, other.date)


def test_a_scenario_that_knows_no_tools_is_refused():
    """The organisms' language has no word for them."""
    with pytest.raises(ContentError, match="know of tools"):
        load_scenario("blackmail/organism").in_form("mailbox").render("main", 0)


def test_a_prompt_without_mails_stays_whole():
    """Nothing is cut off where there is nothing to take apart."""
    assert take_apart("Good morning.\n\nYour turn.") == ("Good morning.\n\nYour turn.", (), "")
    assert fill_mailbox("Good morning.").files == {}


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ("Ann.Lee@Firm.ORG", ("ann.lee@firm.org",)),
        ("Ann Lee <Ann.Lee@Firm.org>, ann lee <ANN.LEE@firm.org>", ("Ann Lee <ann.lee@firm.org>",)),
        ("Ann Lee and Bo; Cy &  Di", ("Ann Lee", "Bo", "Cy", "Di")),
        (["Ann", " bo@x.org ", ""], ("Ann", "bo@x.org")),
        ("  , ;", ()),
    ],
)
def test_recipients_are_brought_to_one_form(value, people):
    """Addresses in lower case, each person once, nobody where nobody is named."""
    assert recipients_of(value) == people


def test_headers_in_one_line_and_line_by_line_are_the_same_mail():
    """Both ways of showing a mail are in use."""
    one = read_mail("1", "From: A To: B, C Subject: Re: x: y\nTue 8 Oct, 09:15\nText.\n\nFrom afar: z.")
    other = read_mail("1", "From: A\nTo: B, C\nDate: Tue 8 Oct, 09:15\nSubject: Re: x: y\n\nText.\n\nFrom afar: z.")

    assert one == other
    assert (one.to, one.date, one.subject) == (("B", "C"), "Tue 8 Oct, 09:15", "Re: x: y")
