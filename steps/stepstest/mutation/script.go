package mutation

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// Script is a dialogue of a protocol of lines, recorded from a server: what it answers to which command. Its file has a line
// for each of:
//
//	S: TEXT         a line of the server; those before the first command are its greeting
//	C: REGEXP       a command, which the following S: lines answer; the first that matches counts
//	C[NAME]: REGEXP the same, only once the dialogue has a value called NAME
//	D: tls          after the answer, TLS begins
//	D: data         after the answer, a message comes, to a line with a dot; it becomes the value "message", and the dot is
//	                the next command
//	D: close        after the answer, the server closes the connection
//	D: forget NAME  after the answer, the dialogue has no value called NAME
//	# TEXT          a comment
//
// In an answer $1 is the first group of the REGEXP, ${message} a value, and ${size:message} its number of bytes.
type Script struct {
	greeting rule
	rules    []rule
}

type rule struct {
	command *regexp.Regexp
	needs   string // the value without which the rule does not count
	answer  strings.Builder
	then    string
}

// ReadScript reads the file of a script.
func ReadScript(path string) (*Script, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the path is a test's
	if err != nil {
		return nil, err
	}
	s := &Script{rules: make([]rule, 0, 100)}
	into := &s.greeting
	for i, line := range strings.Split(string(content), "\n") {
		mark, text, _ := strings.Cut(line, ":")
		text = strings.TrimPrefix(text, " ")
		kind, needs, _ := strings.Cut(strings.TrimSuffix(mark, "]"), "[")
		switch {
		case line == "", strings.HasPrefix(line, "#"):
		case kind == "S":
			into.answer.WriteString(text + "\r\n")
		case kind == "D":
			into.then = text
		case kind == "C":
			command, err := regexp.Compile("(?i)^(?:" + text + ")$")
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, i+1, err)
			}
			if len(s.rules) == cap(s.rules) {
				return nil, fmt.Errorf("%s:%d: a script has at most %d commands", path, i+1, cap(s.rules)) // into must stay valid
			}
			s.rules = append(s.rules, rule{command: command, needs: needs})
			into = &s.rules[len(s.rules)-1]
		default:
			return nil, fmt.Errorf("%s:%d: %q is not a line of a script", path, i+1, line)
		}
	}
	return s, nil
}

// Values are what a dialogue knows: the texts in its answers.
type Values interface {
	Value(name string) string // empty if there is none
	SetValue(name, value string)
}

// longestLine bounds what a script reads of a client.
const longestLine = 1 << 20

// ErrNoAnswer is the error of a command that the script does not have.
var ErrNoAnswer = errors.New("the script has no answer")

// Serve holds the dialogue on a connection. secure begins TLS on it, and may be nil. Serve returns when the client leaves, with
// the connection on which the dialogue ended.
func (s *Script) Serve(conn net.Conn, values Values, secure func(net.Conn) net.Conn) (net.Conn, error) {
	r := bufio.NewReader(io.LimitReader(conn, 64<<20))
	then, err := s.greeting.send(conn, nil, "", values)
	for {
		if err != nil {
			return conn, err
		}
		command := ""
		if name, forget := strings.CutPrefix(then, "forget "); forget {
			values.SetValue(name, "")
		}
		switch then {
		case "close":
			return conn, conn.Close()
		case "data":
			if err := readMessage(r, values); err != nil {
				return conn, err
			}
			command = "."
		case "tls":
			conn = secure(conn)
			r = bufio.NewReader(io.LimitReader(conn, 64<<20))
		}
		if command == "" {
			if command, err = readCommand(r, conn); err != nil {
				return conn, err
			}
		}
		then, err = s.answer(conn, command, values)
	}
}

func (s *Script) answer(conn net.Conn, command string, values Values) (then string, err error) {
	for i := range s.rules {
		r := &s.rules[i]
		if r.needs != "" && values.Value(r.needs) == "" {
			continue
		}
		if at := r.command.FindStringSubmatchIndex(command); at != nil {
			return r.send(conn, at, command, values)
		}
	}
	return "", fmt.Errorf("%w to %q", ErrNoAnswer, command)
}

var inserts = regexp.MustCompile(`\$(\d)|\$\{(size:)?(\w+)\}`)

func (r *rule) send(conn net.Conn, at []int, command string, values Values) (then string, err error) {
	text := inserts.ReplaceAllStringFunc(r.answer.String(), func(insert string) string {
		found := inserts.FindStringSubmatch(insert)
		if found[1] != "" {
			group, _ := strconv.Atoi(found[1])
			if 2*group+1 >= len(at) || at[2*group] < 0 {
				return ""
			}
			return command[at[2*group]:at[2*group+1]]
		}
		value := values.Value(found[3])
		if found[2] != "" {
			return strconv.Itoa(len(value))
		}
		return value
	})
	if text == "" {
		return r.then, nil
	}
	_, err = io.WriteString(conn, text)
	return r.then, err
}

var literal = regexp.MustCompile(`\{(\d+)(\+?)\}$`)

// readCommand reads a line, with the literals of IMAP and ManageSieve in it.
func readCommand(r *bufio.Reader, conn net.Conn) (string, error) {
	var command strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		command.WriteString(line)
		found := literal.FindStringSubmatch(line)
		if found == nil {
			return command.String(), nil
		}
		size, err := strconv.Atoi(found[1])
		if err != nil || size > longestLine || command.Len() > longestLine {
			return "", errors.New("the command is too long")
		}
		if found[2] == "" {
			if _, err := io.WriteString(conn, "+ OK\r\n"); err != nil {
				return "", err
			}
		}
		if _, err := io.CopyN(&command, r, int64(size)); err != nil {
			return "", err
		}
	}
}

// readMessage reads a message to its end with a dot.
func readMessage(r *bufio.Reader, values Values) error {
	var message bytes.Buffer
	for message.Len() < 16<<20 {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		if line == ".\r\n" {
			values.SetValue("message", message.String())
			return nil
		}
		message.WriteString(strings.TrimPrefix(line, "."))
	}
	return errors.New("the message is too long")
}
