package steps

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/net/html"

	"github.com/stepwatch/stepwatch/agent/result"
)

// The sentences about forms.

func init() {
	registerWeb(
		Definition{Area: "web", Sentence: "I press {text}",
			Does:     "Presses a button, found by its id, text or value or the beginning of one, and loads what its form is answered with.",
			Measures: webMeasures, Example: `When I press "Log in"`, Func: press},
		Definition{Area: "web", Sentence: "I submit the form named {text}",
			Does:     "Submits a form without a button. The form is found by id, name or CSS selector.",
			Measures: webMeasures, Example: `When I submit the form named "login"`, Func: submit},
		Definition{Area: "web", Sentence: "I fill in {text} with {text}",
			Does:    "Fills in a text field, found by its id, name or label or the beginning of one.",
			Example: `When I fill in "E-mail" with "alice@example.org"`, Func: fillIn},
		Definition{Area: "web", Sentence: "I fill in {text} with the secret {text}",
			Does:    "Fills in a field with a secret of stepwatch.yml, which no output shows.",
			Example: `When I fill in "Password" with the secret "members"`, Func: fillInSecret},
		Definition{Area: "web", Sentence: "I select {text} from {text}",
			Does:    "Selects an option by its text, in a select field by its id, name or label.",
			Example: `When I select "Germany" from "Country"`, Func: selectFrom},
		Definition{Area: "web", Sentence: "I check {text}",
			Does:    "Checks a checkbox, found by its id, name or label.",
			Example: `When I check "Remember me"`, Func: check(true)},
		Definition{Area: "web", Sentence: "I uncheck {text}",
			Does:    "Unchecks a checkbox, found by its id, name or label.",
			Example: `When I uncheck "Remember me"`, Func: check(false)},
		Definition{Area: "web", Sentence: "I choose {text}",
			Does:    "Chooses a radio button, found by its id, label or value.",
			Example: `When I choose "Express"`, Func: chooseButton},
		Definition{Area: "web", Sentence: "I attach the file at {text} to {text}", Pattern: `^I attach the file at "(.*)" to "(.*)" ?$`,
			Does:    "Attaches a file of the machine that stepwatch runs on to a file field, found by its id, name or label.",
			Example: `When I attach the file at "/var/lib/stepwatch/photo.jpg" to "Photo"`, Func: attachFile},
	)
}

func press(ctx context.Context, w *World, a Args) error {
	return acting(ctx, w, "press", a.Text(0), (*search).findButton, func(e webEngine, f *search, button *html.Node) error {
		return e.press(ctx, w, f, button)
	})
}

func submit(ctx context.Context, w *World, a Args) error {
	return acting(ctx, w, "submit the form named", a.Text(0), (*search).findForm, func(e webEngine, f *search, form *html.Node) error {
		return e.submit(ctx, w, f, form)
	})
}

func fillIn(ctx context.Context, w *World, a Args) error {
	return fill(ctx, w, a.Text(0), a.Text(1))
}

func fillInSecret(ctx context.Context, w *World, a Args) error {
	secret, err := w.Secret(ctx, a.Text(1))
	if err != nil {
		return err
	}
	return fill(ctx, w, a.Text(0), secret.Reveal())
}

func fill(ctx context.Context, w *World, name, value string) error {
	return acting(ctx, w, "fill in", name, fieldOf(kindText), func(e webEngine, f *search, field *html.Node) error {
		if kind, _ := attribute(field, "type"); strings.EqualFold(kind, "password") {
			w.Redact(value) // the next page may repeat it
		}
		if _, readonly := attribute(field, "readonly"); readonly {
			return f.failure(result.ReasonNotFound, result.BlameWeb, "the field is read-only")
		}
		return e.fill(ctx, f, field, value)
	})
}

// fieldOf finds a field of one kind.
func fieldOf(kind fieldKind) func(*search, *html.Node) (*html.Node, error) {
	return func(f *search, doc *html.Node) (*html.Node, error) { return f.findField(doc, kind) }
}

func selectFrom(ctx context.Context, w *World, a Args) error {
	choose := func(f *search, doc *html.Node) (*html.Node, error) {
		f.act, f.name = fmt.Sprintf("%s from %q", f.act, a.Text(1)), a.Text(1)
		return f.findField(doc, kindSelect)
	}
	return acting(ctx, w, "select", a.Text(0), choose, func(e webEngine, f *search, field *html.Node) error {
		option, err := f.findOption(field, a.Text(0))
		if err != nil {
			return err
		}
		return e.selectOption(ctx, f, option)
	})
}

func check(on bool) func(context.Context, *World, Args) error {
	act := "uncheck"
	if on {
		act = "check"
	}
	return func(ctx context.Context, w *World, a Args) error {
		return acting(ctx, w, act, a.Text(0), fieldOf(kindCheckbox), func(e webEngine, f *search, box *html.Node) error {
			return e.check(ctx, f, box, on)
		})
	}
}

func chooseButton(ctx context.Context, w *World, a Args) error {
	return acting(ctx, w, "choose", a.Text(0), fieldOf(kindRadio), func(e webEngine, f *search, radio *html.Node) error {
		return e.check(ctx, f, radio, true)
	})
}

func attachFile(ctx context.Context, w *World, a Args) error {
	return acting(ctx, w, "attach to", a.Text(1), fieldOf(kindFile), func(e webEngine, f *search, field *html.Node) error {
		info, err := os.Stat(a.Text(0))
		if err != nil {
			return f.failure(result.ReasonConfig, result.BlameScenario, "%v", err)
		}
		if !info.Mode().IsRegular() {
			return f.failure(result.ReasonConfig, result.BlameScenario, "%q is no regular file", a.Text(0))
		}
		return e.attach(ctx, f, field, a.Text(0))
	})
}
