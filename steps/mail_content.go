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

// messageDoes says where the content of a message comes from.
const messageDoes = "Text under the step is the message's text, and the rows of a table its headers; for both, begin the text with " + `"""` + wholeMessage +
	" and write the headers, an empty line and the text."

func init() {
	const (
		unchanged = " Another transfer encoding, charset or folding is no change, nor are headers that were put in, nor empty lines at the text's end."
		measures  = "Reading the message (phase read, once)."
	)
	Register(
		Definition{
			Area: "mail", Sentence: `the message has the attachment {file}`,
			Does: "Every message that the scenario sends from here on has this file attached: its path from the feature file's directory, or the text under the step under that " +
				"name. The type is that of the name's ending. All attachments together hold 5 MB at most.",
			DocString: Optional,
			Example:   `Given the message has the attachment "invoice.pdf"`,
			Func:      attach,
		},
		Definition{
			Area: "mail", Sentence: `it arrived unchanged`,
			Does:     "Fails unless the received message has the headers, the text and the attachments with which this scenario sent it." + unchanged,
			Measures: measures, Example: `Then it arrived unchanged`,
			Func: arrivedAs(func(_ Args, sent, arrived *content.Message) (content.Change, error) {
				return content.Changed(sent, arrived), nil
			}),
		},
		Definition{
			Area: "mail", Sentence: `its text arrived unchanged`,
			Does:     "Fails unless the received message has the text with which this scenario sent it." + unchanged,
			Measures: measures, Example: `Then its text arrived unchanged`,
			Func: arrivedAs(func(_ Args, sent, arrived *content.Message) (content.Change, error) {
				return content.TextChanged(sent, arrived), nil
			}),
		},
		Definition{
			Area: "mail", Sentence: `its attachment {text} arrived unchanged`,
			Does:     "Fails unless the received message has an attachment of this name, with the bytes with which this scenario sent it.",
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

// attachmentLimit caps the attachments of a message in bytes, so that it can be read back from a mailbox in one piece.
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
			return scenarioFault("the message has two attachments called %q: they could not be told apart on arrival", other.Name)
		}
	}
	if all > attachmentLimit {
		return scenarioFault("the attachments hold %d bytes with %q: %d is the most", all, attachment.Name, attachmentLimit)
	}
	m.attachments = append(m.attachments, attachment)
	return nil
}

// readFile reads a file that a scenario names, and says whose mistake it is when that fails.
func readFile(path string, limit int64) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // to open a pipe may last for ever
		return nil, Fail(result.ReasonConfig, result.BlameScenario, "%q is no file", path)
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
		return nil, scenarioFault("the file %q holds more than %d bytes, which is the most", path, limit)
	}
	return read, nil
}

// arrivedAs makes the function of a sentence that compares what arrived with what was sent.
func arrivedAs(compare func(a Args, sent, arrived *content.Message) (content.Change, error)) func(context.Context, *World, Args) error {
	return func(ctx context.Context, w *World, a Args) error {
		l, err := receivedLetter(ctx, w)
		if err != nil {
			return err
		}
		if l.sent == nil || l.sent.padded {
			return scenarioFault("the message in %s cannot be compared: this scenario did not send it, or made it of a size", l.where)
		}
		sent, err := content.Read(l.sent.message)
		if err != nil {
			return fmt.Errorf("read what was sent: %w", err)
		}
		arrived, err := content.Read(l.raw)
		if err != nil {
			return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s cannot be compared with what was sent: %w", l.where, err)
		}
		change, err := compare(a, sent, arrived)
		if change != "" {
			l.attachHeader(w)
			return Fail(result.ReasonUnexpected, result.BlameFiltering, "the message in %s is not as it was sent: %s; something between %s and there altered it",
				l.where, change, l.sent.server)
		}
		return err
	}
}
