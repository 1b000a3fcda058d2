package mail

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/content"
	"github.com/stepwatch/stepwatch/steps/limit"
)

// messageDoes describes where the content of a message comes from.
const messageDoes = "A doc string below the step is the message's text, and the rows of a table are its headers. For both, begin the doc string with " + `"""` + wholeMessage +
	" and write the headers, an empty line and the text."

func init() {
	const (
		unchanged = " A different transfer encoding, charset or folding is not a change, and neither are added headers or empty lines at the end of the text."
		measures  = "Reading the message (phase read, once)."
	)
	steps.Register(
		steps.Definition{
			Area: "mail", Sentence: `the message has the attachment {file}`,
			Does: "Attaches this file to every message that the scenario sends after this step: a path relative to the feature file, or the doc string below the step under that " +
				"name. The file extension sets the media type. The limit for all attachments together is 5 MB.",
			DocString: steps.Optional,
			Example:   `Given the message has the attachment "invoice.pdf"`,
			Func:      attach,
		},
		steps.Definition{
			Area: "mail", Sentence: `it arrived unchanged`,
			Does:     "Fails unless the received message has the same headers, text and attachments as the message that this scenario sent." + unchanged,
			Measures: measures, Example: `Then it arrived unchanged`,
			Func: arrivedAs(func(_ steps.Args, sent, arrived *content.Message) (content.Change, error) {
				return content.Changed(sent, arrived), nil
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `its text arrived unchanged`,
			Does:     "Fails unless the received message has the same text as the message that this scenario sent." + unchanged,
			Measures: measures, Example: `Then its text arrived unchanged`,
			Func: arrivedAs(func(_ steps.Args, sent, arrived *content.Message) (content.Change, error) {
				return content.TextChanged(sent, arrived), nil
			}),
		},
		steps.Definition{
			Area: "mail", Sentence: `its attachment {text} arrived unchanged`,
			Does:     "Fails unless the received message has an attachment of this name with the same bytes as this scenario sent.",
			Measures: measures, Example: `Then its attachment "invoice.pdf" arrived unchanged`,
			Func: arrivedAs(func(a steps.Args, sent, arrived *content.Message) (content.Change, error) {
				if sent.Attachment(a.Text(0)) == nil {
					return "", steps.FailScenario("no attachment %q was sent: begin with \"the message has the attachment …\"", a.Text(0))
				}
				return content.AttachmentChanged(sent, arrived, a.Text(0)), nil
			}),
		},
	)
}

// attachmentLimit limits the attachments of a message in bytes, so that it can be read from a mailbox in one piece.
const attachmentLimit = 5 << 20

func attach(_ context.Context, w *steps.World, a steps.Args) error {
	m := steps.State[Session](w)
	attachment := content.Attachment{Name: filepath.Base(a.Text(0))}
	if a.DocString != nil {
		attachment.Type, attachment.Content = a.DocString.MediaType, []byte(a.DocString.Content+"\n")
	} else {
		var err error
		if attachment.Content, err = steps.ReadFile(a.Path(0), attachmentLimit); err != nil {
			return err
		}
	}
	all := len(attachment.Content)
	for _, other := range m.attachments {
		if all += len(other.Content); other.Name == attachment.Name {
			return steps.FailScenario("the message has two attachments named %q: names must be unique", other.Name)
		}
	}
	if all > attachmentLimit {
		return steps.FailScenario("the attachments have %d bytes with %q: the limit is %d", all, attachment.Name, attachmentLimit)
	}
	m.attachments = append(m.attachments, attachment)
	return nil
}

// arrivedAs returns the function of a sentence that compares the received message with the sent one.
func arrivedAs(compare func(a steps.Args, sent, arrived *content.Message) (content.Change, error)) func(context.Context, *steps.World, steps.Args) error {
	return func(ctx context.Context, w *steps.World, a steps.Args) error {
		l, err := ReceivedLetter(ctx, w)
		if err != nil {
			return err
		}
		if l.sent == nil || l.sent.padded {
			return steps.FailScenario("the message in %s cannot be compared: this scenario did not send it, or padded it to a size", l.Where)
		}
		sent, err := content.Read(l.sent.Message)
		if err != nil {
			return fmt.Errorf("read the sent message: %w", err)
		}
		arrived, err := content.Read(l.Raw)
		if err != nil {
			reason := result.ReasonUnexpected
			if errors.As(err, new(*limit.Error)) {
				reason = result.ReasonTooLarge
			}
			return steps.Fail(reason, result.BlameFiltering, "the message in %s cannot be compared with the sent message: %w", l.Where, err)
		}
		change, err := compare(a, sent, arrived)
		if change != "" {
			l.AttachHeader(w)
			return steps.Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s was altered: %s; check the filters and gateways between %s and there",
				l.Where, change, l.sent.Server)
		}
		return err
	}
}
