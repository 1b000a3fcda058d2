package web

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/pagetree"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// The sentences about forms.

func init() {
	registerWeb(
		steps.Definition{Area: "web", Sentence: "I press {text}",
			Does:     "Presses a button, found by its id, text or value, or the beginning of one, and loads the response to its form. Fails when a browser does not send the form, because a field violates a rule of the page (required, pattern, type=email and the like), unless the page says novalidate or shows hints of its own.",
			Measures: webMeasures, Example: `When I press "Log in"`, Func: press},
		steps.Definition{Area: "web", Sentence: "I submit the form named {text}",
			Does:     "Submits a form without pressing a button. The form is found by id, name or CSS selector. Fails when a browser does not send it; see `I press`.",
			Measures: webMeasures, Example: `When I submit the form named "login"`, Func: submit},
		steps.Definition{Area: "web", Sentence: "I fill in {text} with {text}",
			Does:    "Fills in a text field, found by its id, name or label, or the beginning of one. Fails when the field does not take the whole text, for example because of its maxlength; a note says when the page writes it in another way.",
			Example: `When I fill in "E-mail" with "alice@example.org"`, Func: fillIn},
		steps.Definition{Area: "web", Sentence: "I fill in {text} with the secret {secret}",
			Does:    "Fills in a field with a secret from stepwatch.yml. No output shows the secret.",
			Example: `When I fill in "Password" with the secret "members"`, Func: fillInSecret},
		steps.Definition{Area: "web", Sentence: "I select {text} from {text}",
			Does:    "Selects an option by its text, in a select field found by its id, name or label.",
			Example: `When I select "Germany" from "Country"`, Func: selectFrom},
		steps.Definition{Area: "web", Sentence: "I check {text}",
			Does:    "Checks a checkbox, found by its id, name or label.",
			Example: `When I check "Remember me"`, Func: check(true)},
		steps.Definition{Area: "web", Sentence: "I uncheck {text}",
			Does:    "Unchecks a checkbox, found by its id, name or label.",
			Example: `When I uncheck "Remember me"`, Func: check(false)},
		steps.Definition{Area: "web", Sentence: "I choose {text}",
			Does:    "Chooses a radio button, found by its id, label or value.",
			Example: `When I choose "Express"`, Func: chooseButton},
		steps.Definition{Area: "web", Sentence: "I attach the file at {text} to {text}", Pattern: `^I attach the file at {text} to {text} ?$`,
			Does:    "Attaches a file on the machine that runs stepwatch to a file field, found by its id, name or label.",
			Example: `When I attach the file at "/var/lib/stepwatch/photo.jpg" to "Photo"`, Func: attachFile},

		steps.Definition{Area: "web", Sentence: "the field {text} should be {text}",
			Does:    "Fails unless a field, found by its id, name, label, aria-label, placeholder or title, contains exactly this text, ignoring white space. For a select field, this is the text of the selected option. Password fields cannot be checked.",
			Example: `Then the field "E-mail" should be "alice@example.org"`, Func: fieldShould("be", func(value, text string) bool { return value == text })},
		steps.Definition{Area: "web", Sentence: "the field {text} should contain {text}",
			Does:    "Fails unless a field contains this text, possibly among other text; see `the field {text} should be {text}`.",
			Example: `Then the field "Remarks" should contain "by post"`, Func: fieldShould("contain", strings.Contains)},
		steps.Definition{Area: "web", Sentence: "the field {text} should not contain {text}",
			Does:    "Fails when a field contains this text; see `the field {text} should be {text}`." + atRest,
			Example: `Then the field "Remarks" should not contain "by post"`, Func: fieldShould("not contain", func(value, text string) bool { return !strings.Contains(value, text) })},
		steps.Definition{Area: "web", Sentence: "the field {text} should be empty",
			Does:    "Fails unless a field is empty; see `the field {text} should be {text}`." + atRest,
			Example: `Then the field "Remarks" should be empty`, Func: fieldShould("be empty", func(value, _ string) bool { return value == "" })},
		steps.Definition{Area: "web", Sentence: "{text} should be selected in {text}",
			Does:    "Fails unless the option with this text is selected in a select field.",
			Example: `Then "Germany" should be selected in "Country"`, Func: shouldBeSelected},
		steps.Definition{Area: "web", Sentence: "the field {text} should be checked",
			Does:    "Fails unless a checkbox or radio button is checked.",
			Example: `Then the field "Remember me" should be checked`, Func: shouldBeChecked(true)},
		steps.Definition{Area: "web", Sentence: "the field {text} should not be checked",
			Does:    "Fails when a checkbox or radio button is checked." + atRest,
			Example: `Then the field "Remember me" should not be checked`, Func: shouldBeChecked(false)},
		steps.Definition{Area: "web", Sentence: "the field {text} should be disabled",
			Does:    "Fails unless a field is disabled, itself or through the fieldset around it.",
			Example: `Then the field "Voucher" should be disabled`, Func: shouldBeDisabled("field", true)},
		steps.Definition{Area: "web", Sentence: "the field {text} should be enabled",
			Does:    "Fails when a field is disabled, itself or through the fieldset around it." + atRest,
			Example: `Then the field "Voucher" should be enabled`, Func: shouldBeDisabled("field", false)},
		steps.Definition{Area: "web", Sentence: "the button {text} should be disabled",
			Does:    "Fails unless a button is disabled, itself or through the fieldset around it.",
			Example: `Then the button "Pay" should be disabled`, Func: shouldBeDisabled("button", true)},
		steps.Definition{Area: "web", Sentence: "the button {text} should be enabled",
			Does:    "Fails when a button is disabled, itself or through the fieldset around it." + atRest,
			Example: `Then the button "Pay" should be enabled`, Func: shouldBeDisabled("button", false)},
	)
}

func press(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "press", a.Text(0), (*search).findButton, func(e webEngine, f *search, button *html.Node) error {
		return e.press(ctx, w, f, button)
	})
}

func submit(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "submit the form named", a.Text(0), (*search).findForm, func(e webEngine, f *search, form *html.Node) error {
		return e.submit(ctx, w, f, form)
	})
}

func fillIn(ctx context.Context, w *steps.World, a steps.Args) error {
	return fill(ctx, w, a.Text(0), a.Text(1), false)
}

func fillInSecret(ctx context.Context, w *steps.World, a steps.Args) error {
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	return fill(ctx, w, a.Text(0), secret.Reveal(), true)
}

func fill(ctx context.Context, w *steps.World, name, value string, secret bool) error {
	return acting(ctx, w, "fill in", name, fieldOf(pagetree.KindText), func(e webEngine, f *search, field *html.Node) error {
		if kind, _ := pagetree.Attribute(field, "type"); strings.EqualFold(kind, "password") {
			secret = true
			w.Redact(value) // the next page may contain it
		}
		if _, readonly := pagetree.Attribute(field, "readonly"); readonly {
			return f.failure(result.ReasonNotFound, result.BlameWeb, "the field is read-only")
		}
		taken, err := e.fill(ctx, f, field, value)
		if err != nil {
			return err
		}
		return f.judgeTaken(w, field, value, taken, secret)
	})
}

// judgeTaken fails when a field took only a part of the text that was typed. A page may write the text in another way, for
// example with blanks between the digits of a number: that is noted.
func (s *search) judgeTaken(w *steps.World, field *html.Node, text, taken string, secret bool) error {
	switch pagetree.Compare(field, text, taken) {
	case pagetree.TookAll:
		return nil
	case pagetree.TookOtherwise:
		if note := "the page changed the text in the field"; secret {
			w.Note(note)
		} else {
			w.Note(note + " to " + wording.Quote(taken))
		}
		return nil
	}
	limit := ""
	if most, has := pagetree.Attribute(field, "maxlength"); has && strings.HasPrefix(text, taken) {
		limit = fmt.Sprintf(" (maxlength=%q)", most)
	}
	switch n := pagetree.Length(taken); {
	case secret: // neither the text nor its length is shown
		return s.failure(result.ReasonProtocol, result.BlameWeb, "the field took %d characters%s, which is not the whole text", n, limit)
	case strings.HasPrefix(text, taken):
		return s.failure(result.ReasonProtocol, result.BlameWeb, "the field took %d characters%s of the %d in the text", n, limit, pagetree.Length(text))
	default:
		return s.failure(result.ReasonProtocol, result.BlameWeb, "the field took %s instead of the text", wording.Quote(taken))
	}
}

// fieldOf returns a function that finds a field of one kind.
func fieldOf(kind pagetree.FieldKind) func(*search, *html.Node) (*html.Node, error) {
	return func(f *search, doc *html.Node) (*html.Node, error) { return f.findField(doc, kind) }
}

func selectFrom(ctx context.Context, w *steps.World, a steps.Args) error {
	choose := func(f *search, doc *html.Node) (*html.Node, error) {
		f.act, f.name = fmt.Sprintf("%s from %q", f.act, a.Text(1)), a.Text(1)
		return f.findField(doc, pagetree.KindSelect)
	}
	return acting(ctx, w, "select", a.Text(0), choose, func(e webEngine, f *search, field *html.Node) error {
		option, err := f.findOption(field, a.Text(0))
		if err != nil {
			return err
		}
		return e.selectOption(ctx, f, option)
	})
}

func check(on bool) func(context.Context, *steps.World, steps.Args) error {
	act := "uncheck"
	if on {
		act = "check"
	}
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		return acting(ctx, w, act, a.Text(0), fieldOf(pagetree.KindCheckbox), func(e webEngine, f *search, box *html.Node) error {
			return e.check(ctx, f, box, on)
		})
	}
}

func chooseButton(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "choose", a.Text(0), fieldOf(pagetree.KindRadio), func(e webEngine, f *search, radio *html.Node) error {
		return e.check(ctx, f, radio, true)
	})
}

func attachFile(ctx context.Context, w *steps.World, a steps.Args) error {
	return acting(ctx, w, "attach to", a.Text(1), fieldOf(pagetree.KindFile), func(e webEngine, f *search, field *html.Node) error {
		info, err := os.Stat(a.Text(0))
		if err != nil {
			return f.failure(result.ReasonConfig, result.BlameScenario, "%v", err)
		}
		if !info.Mode().IsRegular() {
			return f.failure(result.ReasonConfig, result.BlameScenario, "%q is not a regular file", a.Text(0))
		}
		return e.attach(ctx, f, field, a.Text(0))
	})
}

// fieldShould judges the value of a field. The text to compare with is the second one in the sentence, if there is one.
func fieldShould(verb string, fits func(value, text string) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		text, act := "", fmt.Sprintf("expect the field %q to %s", a.Text(0), verb)
		if len(a.Captured) > 1 {
			text = pagetree.Normal(a.Text(1))
			act += fmt.Sprintf(" %q", a.Text(1))
			if text == "" {
				return steps.FailScenario("%s: the text is empty: write `the field %q should be empty`", act, a.Text(0))
			}
		}
		return searching(ctx, w, verb == "be" || verb == "contain", act, a.Text(0), func(s *search, doc *html.Node) error {
			field, err := s.findField(doc, "")
			if err != nil {
				return err
			}
			value, err := s.valueOf(field)
			if err != nil || fits(value, text) {
				return err
			}
			if value == "" {
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "it is empty")
			}
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "it contains %s", wording.Quote(value))
		})
	}
}

// valueOf returns the text that a visitor sees in a field.
func (s *search) valueOf(field *html.Node) (string, error) {
	switch kind := pagetree.KindOf(field); kind {
	case pagetree.KindCheckbox, pagetree.KindRadio:
		return "", steps.FailScenario("%s: it is a %s: write `the field %q should be checked`", s.act, kind, s.name)
	case pagetree.KindFile:
		return "", steps.FailScenario("%s: it is a file field, and a page does not show its content", s.act)
	case pagetree.KindSelect:
		var texts []string
		for _, o := range pagetree.Selected(field) {
			texts = append(texts, pagetree.OptionText(o))
		}
		return strings.Join(texts, ", "), nil
	}
	if kind, _ := pagetree.Attribute(field, "type"); strings.EqualFold(kind, "password") {
		return "", steps.FailScenario("%s: it is a password field, whose content is never shown", s.act)
	}
	if field.DataAtom == atom.Textarea {
		return pagetree.Normal(pagetree.TextareaValue(field)), nil
	}
	return pagetree.AttributeText(field, "value"), nil
}

func shouldBeSelected(ctx context.Context, w *steps.World, a steps.Args) error {
	return searching(ctx, w, true, fmt.Sprintf("expect %q to be selected in %q", a.Text(0), a.Text(1)), a.Text(1), func(s *search, doc *html.Node) error {
		field, err := s.findField(doc, pagetree.KindSelect)
		if err != nil {
			return err
		}
		var others []string
		for _, o := range pagetree.Selected(field) {
			if pagetree.OptionText(o) == pagetree.Normal(a.Text(0)) {
				return nil
			}
			others = append(others, wording.Quote(pagetree.OptionText(o)))
		}
		if len(others) == 0 {
			return s.failure(result.ReasonUnexpected, result.BlameWeb, "no option is selected")
		}
		return s.failure(result.ReasonUnexpected, result.BlameWeb, "got %s", strings.Join(others, ", "))
	})
}

func shouldBeChecked(wanted bool) func(context.Context, *steps.World, steps.Args) error {
	act, got := "expect the field %q not to be checked", "it is checked"
	if wanted {
		act, got = "expect the field %q to be checked", "it is not checked"
	}
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		return searching(ctx, w, wanted, fmt.Sprintf(act, a.Text(0)), a.Text(0), func(s *search, doc *html.Node) error {
			field, err := s.findField(doc, "")
			if err != nil {
				return err
			}
			if kind := pagetree.KindOf(field); kind != pagetree.KindCheckbox && kind != pagetree.KindRadio {
				return steps.FailScenario("%s: it is a %s, which cannot be checked", s.act, kind)
			}
			if _, checked := pagetree.Attribute(field, "checked"); checked != wanted {
				return s.failure(result.ReasonUnexpected, result.BlameWeb, "%s", got)
			}
			return nil
		})
	}
}

func shouldBeDisabled(thing string, wanted bool) func(context.Context, *steps.World, steps.Args) error {
	is, other := "enabled", "disabled"
	if wanted {
		is, other = other, is
	}
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		return searching(ctx, w, wanted, fmt.Sprintf("expect the %s %q to be %s", thing, a.Text(0), is), a.Text(0), func(s *search, doc *html.Node) error {
			var n *html.Node
			var err error
			if thing == "button" {
				n, err = s.findButton(doc)
			} else {
				n, err = s.findField(doc, "")
			}
			if err == nil && pagetree.IsDisabled(n) != wanted {
				err = s.failure(result.ReasonUnexpected, result.BlameWeb, "it is %s", other)
			}
			return err
		})
	}
}
