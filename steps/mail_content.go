package steps

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/content"
)

// messageDoes describes where the content of a message comes from.
const messageDoes = "A doc string below the step is the message's text, and the rows of a table are its headers. For both, begin the doc string with " + `"""` + wholeMessage +
	" and write the headers, an empty line and the text."

func init() {
	const (
		unchanged = " A different transfer encoding, charset or folding is not a change, and neither are added headers or empty lines at the end of the text."
		measures  = "Reading the message (phase read, once)."
	)
	Register(
		Definition{
			Area: "mail", Sentence: `the message has the attachment {file}`,
			Does: "Attaches this file to every message that the scenario sends after this step: a path relative to the feature file, or the doc string below the step under that " +
				"name. The file extension sets the media type. The limit for all attachments together is 5 MB.",
			DocString: Optional,
			Example:   `Given the message has the attachment "invoice.pdf"`,
			Func:      attach,
		},
		Definition{
			Area: "mail", Sentence: `it arrived unchanged`,
			Does:     "Fails unless the received message has the same headers, text and attachments as the message that this scenario sent." + unchanged,
			Measures: measures, Example: `Then it arrived unchanged`,
			Func: arrivedAs(func(_ Args, sent, arrived *content.Message) (content.Change, error) {
				return content.Changed(sent, arrived), nil
			}),
		},
		Definition{
			Area: "mail", Sentence: `its text arrived unchanged`,
			Does:     "Fails unless the received message has the same text as the message that this scenario sent." + unchanged,
			Measures: measures, Example: `Then its text arrived unchanged`,
			Func: arrivedAs(func(_ Args, sent, arrived *content.Message) (content.Change, error) {
				return content.TextChanged(sent, arrived), nil
			}),
		},
		Definition{
			Area: "mail", Sentence: `its attachment {text} arrived unchanged`,
			Does:     "Fails unless the received message has an attachment of this name with the same bytes as this scenario sent.",
			Measures: measures, Example: `Then its attachment "invoice.pdf" arrived unchanged`,
			Func: arrivedAs(func(a Args, sent, arrived *content.Message) (content.Change, error) {
				if sent.Attachment(a.Text(0)) == nil {
					return "", scenarioFault("no attachment %q was sent: begin with \"the message has the attachment …\"", a.Text(0))
				}
				return content.AttachmentChanged(sent, arrived, a.Text(0)), nil
			}),
		},
	)
}

// attachmentLimit limits the attachments of a message in bytes, so that it can be read from a mailbox in one piece.
const attachmentLimit = 5 << 20

func attach(_ context.Context, w *World, a Args) error {
	m := State[mail](w)
	attachment := content.Attachment{Name: filepath.Base(a.Text(0))}
	if a.DocString != nil {
		attachment.Type, attachment.Content = a.DocString.MediaType, []byte(a.DocString.Content+"\n")
	} else {
		var err error
		if attachment.Content, err = readFile(a.Path(0), attachmentLimit); err != nil {
			return err
		}
	}
	all := len(attachment.Content)
	for _, other := range m.attachments {
		if all += len(other.Content); other.Name == attachment.Name {
			return scenarioFault("the message has two attachments named %q: names must be unique", other.Name)
		}
	}
	if all > attachmentLimit {
		return scenarioFault("the attachments have %d bytes with %q: the limit is %d", all, attachment.Name, attachmentLimit)
	}
	m.attachments = append(m.attachments, attachment)
	return nil
}

// readFile reads a file named in a scenario. An error is a Failure with its blame.
func readFile(path string, limit int64) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // opening a pipe can block forever
		return nil, Fail(result.ReasonConfig, result.BlameScenario, "%q is not a file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, MissingFile(path, err)
	}
	defer func() { _ = f.Close() }() // only read
	read, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, Fail(result.ReasonConfig, result.BlameScenario, "%w", err)
	}
	if int64(len(read)) > limit {
		return nil, scenarioFault("the file %q is larger than the limit of %d bytes", path, limit)
	}
	return read, nil
}

// arrivedAs returns the function of a sentence that compares the received message with the sent one.
func arrivedAs(compare func(a Args, sent, arrived *content.Message) (content.Change, error)) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		l, err := receivedLetter(ctx, w)
		if err != nil {
			return err
		}
		if l.sent == nil || l.sent.padded {
			return scenarioFault("the message in %s cannot be compared: this scenario did not send it, or padded it to a size", l.where)
		}
		sent, err := content.Read(l.sent.message)
		if err != nil {
			return fmt.Errorf("read the sent message: %w", err)
		}
		arrived, err := content.Read(l.raw)
		if err != nil {
			return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s cannot be compared with the sent message: %w", l.where, err)
		}
		change, err := compare(a, sent, arrived)
		if change != "" {
			l.attachHeader(w)
			return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s was altered: %s; check the filters and gateways between %s and there",
				l.where, change, l.sent.server)
		}
		return err
	}
}
