package starttls

import (
	"io"
	"strconv"
	"strings"
)

// reply reads an answer of SMTP or FTP (RFC 5321 section 4.2, RFC 959 section 4.2). It returns the code and the text of
// each line. In FTP, the lines between the first and the last need no code.
func (d *dialogue) reply() (code int, text []string, err error) {
	for range linesLimit.Most {
		line, err := d.line()
		if err != nil {
			return 0, nil, err
		}
		got, more, ok := replyCode(line)
		switch {
		case code == 0 && !ok, !ok && d.protocol != FTP:
			return 0, nil, broken("%q does not begin with a code", printable(line))
		case code != 0 && ok && got != code && d.protocol != FTP:
			return 0, nil, broken("the codes %d and %d in one answer", code, got)
		case code == 0:
			code = got
		}
		text = append(text, strings.TrimSpace(line[min(4, len(line)):]))
		if ok && got == code && !more {
			return code, text, nil
		}
	}
	return 0, nil, linesLimit.Exceeded()
}

func replyCode(line string) (code int, more, ok bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, false, false
	}
	code, err := strconv.Atoi(line[:3])
	return code, len(line) > 3 && line[3] == '-', err == nil && code >= 100 && code <= 599
}

// want reads an answer with this code. Any other code is a refusal.
func (d *dialogue) want(code int) ([]string, error) {
	got, text, err := d.reply()
	if err != nil {
		return nil, err
	}
	if got != code {
		return nil, d.refusal(strconv.Itoa(got) + " " + strings.Join(text, " "))
	}
	return text, nil
}

func (d *dialogue) smtp(hello string) error {
	text, err := d.want(220)
	if err != nil {
		return err
	}
	d.greeting = printable("220 " + strings.Join(text, " "))
	if err := d.say(hello + " " + d.own); err != nil {
		return err
	}
	if text, err = d.want(250); err != nil {
		return err
	}
	offered := false
	for _, keyword := range text[1:] {
		offered = offered || strings.EqualFold(keyword, "STARTTLS")
	}
	if !offered {
		return d.refusal("")
	}
	if err := d.say("STARTTLS"); err != nil {
		return err
	}
	_, err = d.want(220)
	return err
}

func (d *dialogue) ftp() error {
	text, err := d.want(220)
	if err != nil {
		return err
	}
	d.greeting = printable("220 " + strings.Join(text, " "))
	if err := d.say("AUTH TLS"); err != nil {
		return err
	}
	_, err = d.want(234)
	return err
}

func (d *dialogue) imap() error {
	greeting, err := d.line()
	if err != nil {
		return err
	}
	d.greeting = printable(greeting)
	switch status, rest := word(strings.TrimPrefix(greeting, "* ")); {
	case !strings.HasPrefix(greeting, "* "):
		return broken("%q is not a greeting", d.greeting)
	case status == "BYE":
		return d.refusal(rest)
	case status == "PREAUTH":
		// RFC 3501 section 7.1.4 forbids STARTTLS then: TLS could never start.
		return d.refusal("it greets with PREAUTH, so TLS can never start")
	case status != "OK":
		return broken("%q is not a greeting", d.greeting)
	}
	const tag = "s1"
	if err := d.say(tag + " STARTTLS"); err != nil {
		return err
	}
	for range linesLimit.Most {
		line, err := d.line()
		if err != nil {
			return err
		}
		first, rest := word(line)
		status, _ := word(rest)
		switch {
		case first == "*":
			if status == "BYE" {
				return d.refusal(rest)
			}
		case first != strings.ToUpper(tag):
			return broken("%q is not an answer", printable(line))
		case status == "OK":
			return nil
		case status == "NO", status == "BAD":
			return d.refusal(rest)
		default:
			return broken("%q is not an answer", printable(line))
		}
	}
	return linesLimit.Exceeded()
}

// word returns the first word of a line in capitals, and the rest.
func word(line string) (first, rest string) {
	first, rest, _ = strings.Cut(line, " ")
	return strings.ToUpper(first), rest
}

func (d *dialogue) pop3() error {
	greeting, err := d.status()
	if err != nil {
		return err
	}
	d.greeting = greeting
	if err := d.say("STLS"); err != nil {
		return err
	}
	_, err = d.status()
	return err
}

// status reads an answer of POP3: +OK, or a refusal.
func (d *dialogue) status() (string, error) {
	line, err := d.line()
	if err != nil {
		return "", err
	}
	switch first, _ := word(line); first {
	case "+OK":
		return printable(line), nil
	case "-ERR":
		return "", d.refusal(line)
	}
	return "", broken("%q is not an answer", printable(line))
}

func (d *dialogue) sieve() error {
	capabilities, err := d.sieveAnswer()
	if err != nil {
		return err
	}
	offered := false
	for _, capability := range capabilities {
		name, value := word(capability)
		switch strings.Trim(name, `"`) {
		case "STARTTLS":
			offered = true
		case "IMPLEMENTATION":
			d.greeting = printable(strings.Trim(value, `"`))
		}
	}
	if !offered {
		return d.refusal("")
	}
	if err := d.say("STARTTLS"); err != nil {
		return err
	}
	_, err = d.sieveAnswer()
	return err
}

// sieveAnswer reads lines up to the one that begins with OK, and returns those before it. A text may be a literal after
// its length (RFC 5804 section 4).
func (d *dialogue) sieveAnswer() ([]string, error) {
	var before []string
	for range linesLimit.Most {
		line, err := d.line()
		if err != nil {
			return nil, err
		}
		if n, ok := literal(line); ok {
			if err := lineLimit.Check(int64(n)); err != nil {
				return nil, err
			}
			content := make([]byte, n)
			if _, err := io.ReadFull(d.r, content); err != nil {
				return nil, err
			}
			rest, err := d.line()
			if err != nil {
				return nil, err
			}
			line = line[:strings.LastIndexByte(line, '{')] + string(content) + rest
		}
		switch status, rest := word(line); status {
		case "OK":
			return before, nil
		case "NO", "BYE":
			return nil, d.refusal(status + " " + rest)
		}
		if !strings.HasPrefix(line, `"`) {
			return nil, broken("%q is not an answer", printable(line))
		}
		before = append(before, line)
	}
	return nil, linesLimit.Exceeded()
}

// literal returns the length at the end of a line, as in `NO {12}`. In RFC 5804 it may end in a plus.
func literal(line string) (n int, ok bool) {
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(line[open+1:len(line)-1], "+"))
	return n, err == nil && n >= 0
}
