package verdict

import (
	"context"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/mail"
	"github.com/stepwatch/stepwatch/steps/message"
	"github.com/stepwatch/stepwatch/steps/wording"
)

func init() {
	const measures = "Reading the message (phase read, once)."
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `its header {text} is {text}`, Pattern: `^its header "([^"]+)" is {text}$`,
			Does:     "Fails unless a header field of that name in the received message has exactly this value, unfolded and decoded (RFC 2047). If there are several such fields, one match is enough.",
			Measures: measures, Example: `Then its header "List-Id" is "<members.example.org>"`, Func: headerFieldIs,
		},
		steps.Definition{
			Area: "mail", Sentence: `its header {text} contains {text}`, Pattern: `^its header "([^"]+)" contains {text}$`,
			Does:     "Fails unless a header field of that name in the received message contains this text, unfolded and decoded (RFC 2047). If there are several such fields, one match is enough.",
			Measures: measures, Example: `Then its header "Received" contains "TLSv1.3"`, Func: headerFieldContains,
		},
		steps.Definition{
			Area: "mail", Sentence: `it has no header {text}`, Pattern: `^it has no header "([^"]+)"$`,
			Does:     "Fails when the received message has a header field of that name.",
			Measures: measures, Example: `Then it has no header "X-Originating-IP"`, Func: headerFieldAbsent,
		},
	)
}

func headerFieldIs(ctx context.Context, w *steps.World, a steps.Args) error {
	return wantHeaderField(ctx, w, a.Text(0), "to be "+wording.Quote(a.Text(1)), func(value string) bool { return value == a.Text(1) })
}

func headerFieldContains(ctx context.Context, w *steps.World, a steps.Args) error {
	return wantHeaderField(ctx, w, a.Text(0), "to contain "+wording.Quote(a.Text(1)), func(value string) bool { return strings.Contains(value, a.Text(1)) })
}

func wantHeaderField(ctx context.Context, w *steps.World, name, wanted string, fits func(string) bool) error {
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	var got []string
	for _, value := range l.Fields.Values(name) {
		if value = message.Decode(value); fits(value) {
			return nil
		}
		got = append(got, wording.Quote(value))
	}
	l.AttachHeader(w)
	if got == nil {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the header %q %s: the message in %s does not have it", name, wanted, l.Where)
	}
	return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect the header %q %s, got %s", name, wanted, strings.Join(got, ", "))
}

func headerFieldAbsent(ctx context.Context, w *steps.World, a steps.Args) error {
	l, err := mail.ReceivedLetter(ctx, w)
	if err != nil {
		return err
	}
	if values := l.Fields.Values(a.Text(0)); len(values) > 0 {
		l.AttachHeader(w)
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "expect no header %q, got %s", a.Text(0), wording.Quote(values[0]))
	}
	return nil
}
