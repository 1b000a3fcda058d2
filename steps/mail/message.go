package mail

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/stepwatch/stepwatch/features"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/content"
	"github.com/stepwatch/stepwatch/steps/wording"
)

const defaultBody = `This is a test message. stepwatch sent it to check whether mail arrives and how long that takes.

The run that sent it removes it. If that fails, the next run removes it. You may delete it at any time.

`

// NumberLine begins the last line of that text. It distinguishes the message from all others where an application shows
// only the text.
const NumberLine = "Its number is "

// compose writes the message of s: the headers of the step's table, its doc string as the text, the scenario's
// attachments, and the headers by which stepwatch recognises it.
func compose(w *steps.World, s *Submission, a steps.Args) ([]byte, error) {
	from, err := Address(s.from)
	if err != nil {
		return nil, err
	}
	to, err := Address(s.To)
	if err != nil {
		return nil, err
	}
	_, domain, _ := wording.CutLast(from, "@")
	if ascii, err := idna.Lookup.ToASCII(domain); err == nil { // a Message-ID is not an address, and its domain may be spelt differently
		domain = ascii
	}
	message := &content.Message{Text: defaultBody + NumberLine + MessageID(w.Run(), s.Number) + "\n", Attachments: steps.State[Session](w).attachments, Headers: []content.Header{
		{Name: "Date", Value: time.Now().Format("Mon, 02 Jan 2006 15:04:05 -0700")},
		{Name: "From", Value: from},
		{Name: "To", Value: to},
		{Name: "Subject", Value: "stepwatch test message"},
		{Name: "Message-ID", Value: "<" + MessageID(w.Run(), s.Number) + "@" + domain + ">"},
		{Name: "Auto-Submitted", Value: "auto-generated"}, // RFC 3834: no vacation answers
		{Name: headerRun, Value: w.Run()},
		{Name: headerOrigin, Value: w.Origin()},
		{Name: headerMessage, Value: strconv.Itoa(s.Number)},
	}}
	if a.DocString != nil {
		message.Text = a.DocString.Content
		if strings.Contains(a.DocString.MediaType, "/") {
			message.TextType = a.DocString.MediaType
		}
	}
	if err := withTable(message, a.Table); err != nil {
		return nil, err
	}
	raw, err := message.Write()
	if err != nil {
		return nil, steps.FailScenario("write the message: %w", err)
	}
	return raw, nil
}

// MessageID returns the left part of a message's Message-ID.
func MessageID(run string, number int) string { return run + "." + strconv.Itoa(number) }

// wholeMessage is the media type of a doc string that also holds the headers.
const wholeMessage = "message/rfc822"

// withHeaders moves the headers of a doc string of type wholeMessage to the rows of the table.
func withHeaders(a steps.Args) steps.Args {
	if a.DocString == nil || a.DocString.MediaType != wholeMessage {
		return a
	}
	headers, text := content.Split(a.DocString.Content)
	for _, h := range headers {
		a.Table = append(slices.Clip(a.Table), []string{h.Name, h.Value})
	}
	a.DocString = &features.DocString{Content: text}
	return a
}

// withTable adds the rows "name, value" of a step's table to the headers. A row replaces the header with the same name.
func withTable(m *content.Message, table [][]string) error {
	for _, row := range table {
		if len(row) != 2 {
			return steps.FailScenario("a row of the headers has %d cells, wanted 2: | Subject | Hello |", len(row))
		}
		name, value := row[0], row[1]
		lower := strings.ToLower(name)
		switch {
		case strings.HasPrefix(lower, "x-stepwatch-"), lower == "content-transfer-encoding", lower == "mime-version":
			return steps.FailScenario("the header %s is reserved for stepwatch", name)
		case lower == "content-type":
			m.TextType = value
			continue
		}
		replaced := false
		for i := range m.Headers {
			if strings.EqualFold(m.Headers[i].Name, name) {
				m.Headers[i].Value, replaced = value, true
			}
		}
		if !replaced {
			m.Headers = append(m.Headers, content.Header{Name: name, Value: value})
		}
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
