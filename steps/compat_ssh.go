package steps

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps/sshclient"
)

// The sentences of cucumber-nagios 0.8 and of cuken about SSH. Their passwords stand in tables; `lint` warns of that.

func init() {
	const area = "cucumber-nagios"
	const table = " The columns of the table are hostname, username, password or keyfile; secret, a name under secrets in stepwatch.yml, in the place of a password. A " +
		"server is a host name, with :port when that is not 22, or a name under hosts in stepwatch.yml (its ssh.port counts). Its key must be in the known_hosts."
	const measures = "Phases dns, connect, login."
	Register(
		Definition{Area: area, Sentence: "I have no public keys set",
			Does: "From now on logs in with passwords alone.", Example: `Given I have no public keys set`, Func: noPublicKeys},
		Definition{Area: area, Sentence: "I have the following public keys:",
			Does:    "Logs in with these private keys too: a table with the column keyfile, whose paths are relative to the feature file.",
			Example: "Given I have the following public keys:\n  | keyfile |\n  | /etc/stepwatch/id_ed25519 |", Func: publicKeys},
		Definition{Area: area, Sentence: "I can ssh to {server} with the following credentials:",
			Does: "Fails unless each row of the table can log in." + table, Measures: measures,
			Example: "Then I can ssh to \"www.example.org\" with the following credentials:\n  | username | keyfile |\n  | monitor | /etc/stepwatch/id_ed25519 |", Func: canLogIn},
		Definition{Area: area, Sentence: "I can ssh to the following hosts with these credentials:",
			Does: "Fails unless each row of the table can log in." + table, Measures: measures,
			Example: "Then I can ssh to the following hosts with these credentials:\n  | hostname | username | secret |\n  | www.example.org | monitor | ssh |", Func: canLogIn},
		Definition{Area: area, Sentence: "I ssh to {server} with the following credentials:",
			Does: "Logs in with the first row of the table, and stays so: \"I run\" with double quotes runs there from now on." + table, Measures: measures,
			Example: "When I ssh to \"www.example.org\" with the following credentials:\n  | username | secret |\n  | monitor | ssh |", Func: stayLoggedIn},

		Definition{Area: area, Sentence: "a SSH client user {text}", Does: "Names the user who logs in, for `I initialize password-less SSH access`.",
			Example: `Given a SSH client user "monitor"`, Func: func(_ context.Context, w *World, a Args) error {
				State[sshSessions](w).old.user = a.Text(0)
				return nil
			}},
		Definition{Area: area, Sentence: "a SSH client hostname {text}", Does: "Names the server to log in to, for `I initialize password-less SSH access`.",
			Example: `Given a SSH client hostname "www.example.org"`, Func: func(_ context.Context, w *World, a Args) error {
				State[sshSessions](w).old.server = a.Text(0)
				return nil
			}},
		Definition{Area: area, Sentence: "default ssh-forever options", Also: []string{"a SSH client user", "a SSH client hostname"},
			Does:    "Has `I initialize password-less SSH access` log in as the user that stepwatch runs as, to the machine that it runs on, unless another step says otherwise.",
			Example: `Given default ssh-forever options`, Func: nothingToDo},
		Definition{Area: area, Sentence: "I initialize password-less SSH access",
			Does: "Logs in with a key, without a password, and stays so. It sets nothing up: a monitor puts no keys on servers.", Measures: measures,
			Example: `When I initialize password-less SSH access`, Func: logInByKey},
		Definition{Area: area, Sentence: "I initialize password-less SSH access for:", Also: []string{"the ssh-forever options:"},
			Does: "Fails unless each row of the table can log in with a key, without a password; the last login stays. The columns are user, hostname, port and identity_file. " +
				"It sets nothing up: a monitor puts no keys on servers.", Measures: measures,
			Example: "When I initialize password-less SSH access for:\n  | user | hostname |\n  | monitor | www.example.org |", Func: logInByKey},
	)
}

// oldSSH is what steps of the old sentences have set.
type oldSSH struct {
	keyfiles     []string
	noKeys       bool
	user, server string
}

// rowsOf gives the rows of a table by its columns.
func rowsOf(a Args, columns ...string) ([]map[string]string, error) {
	if len(a.Table) < 2 {
		return nil, scenarioFault("the step needs a table beneath it: | %s |, and the values beneath", strings.Join(columns, " | "))
	}
	var rows []map[string]string
	for _, cells := range a.Table[1:] {
		row := make(map[string]string)
		for i, name := range a.Table[0] {
			if i < len(cells) {
				row[name] = cells[i]
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func noPublicKeys(_ context.Context, w *World, _ Args) error {
	State[sshSessions](w).old = oldSSH{noKeys: true}
	return nil
}

func publicKeys(_ context.Context, w *World, a Args) error {
	rows, err := rowsOf(a, "keyfile")
	if err != nil {
		return err
	}
	old := &State[sshSessions](w).old
	old.keyfiles = nil
	for _, row := range rows {
		path := beside(a.Dir, row["keyfile"])
		if _, err := readKey(path); err != nil {
			return err
		}
		old.keyfiles = append(old.keyfiles, path)
	}
	return nil
}

// beside gives a path that a table names: from the feature file's directory, or from the user's home.
func beside(dir, name string) string {
	if rest, found := strings.CutPrefix(name, "~/"); found {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// ownKeys are the keys that ssh itself would offer.
func ownKeys() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil
	}
	var found []string
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		path := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			found = append(found, path)
		}
	}
	return found
}

// oldLogin reads a row of credentials.
func oldLogin(ctx context.Context, w *World, dir, server string, row map[string]string) (sshclient.Login, error) {
	old := State[sshSessions](w).old
	if row["hostname"] != "" {
		server = row["hostname"]
	}
	l := sshclient.Login{User: row["username"], Password: row["password"]}
	if server == "" || l.User == "" {
		return l, scenarioFault("the table names no %s", map[bool]string{true: "hostname", false: "username"}[server == ""])
	}
	w.Redact(l.Password)
	l.Address = w.target.AddressOf(server)
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		port := 22
		if host, known := w.target.Hosts[server]; known && PartOf[*SSH](host) != nil {
			port = PartOf[*SSH](host).Port
		}
		l.Address = net.JoinHostPort(strings.Trim(l.Address, "[]"), strconv.Itoa(port))
	}
	if name := row["secret"]; name != "" {
		secret, err := w.Secret(ctx, name)
		if err != nil {
			return l, err
		}
		l.Password = secret.Reveal()
	}
	keyfiles := old.keyfiles
	if row["keyfile"] != "" {
		keyfiles = append([]string{beside(dir, row["keyfile"])}, keyfiles...)
	}
	if len(keyfiles) == 0 && l.Password == "" && !old.noKeys {
		keyfiles = ownKeys()
	}
	for _, path := range keyfiles {
		key, err := readKey(path)
		if err != nil {
			return l, err
		}
		l.Keys = append(l.Keys, key)
	}
	if len(l.Keys) == 0 && l.Password == "" {
		return l, scenarioFault("the table has neither a secret, a password nor a keyfile to log in with")
	}
	return l, nil
}

func canLogIn(ctx context.Context, w *World, a Args) error {
	rows, err := rowsOf(a, "hostname", "username", "secret")
	if err != nil {
		return err
	}
	server := ""
	if len(a.Captured) > 0 {
		server = a.Text(0)
	}
	for _, row := range rows {
		l, err := oldLogin(ctx, w, a.Dir, server, row)
		if err != nil {
			return err
		}
		session, err := openSSH(ctx, w, l.Address, l)
		if err != nil {
			return err
		}
		_ = session.client.Close() // that it opened is what was asked
	}
	return nil
}

func stayLoggedIn(ctx context.Context, w *World, a Args) error {
	rows, err := rowsOf(a, "username", "secret")
	if err != nil {
		return err
	}
	l, err := oldLogin(ctx, w, a.Dir, a.Text(0), rows[0])
	if err != nil {
		return err
	}
	return stay(ctx, w, l)
}

func stay(ctx context.Context, w *World, l sshclient.Login) error {
	session, err := openSSH(ctx, w, l.Address, l)
	if err != nil {
		return err
	}
	sessions := State[sshSessions](w)
	sessions.keep(session)
	sessions.last = session
	w.Note(session.client.Server())
	return nil
}

func logInByKey(ctx context.Context, w *World, a Args) error {
	rows := []map[string]string{{}}
	if len(a.Table) > 0 {
		var err error
		if rows, err = rowsOf(a, "user", "hostname"); err != nil {
			return err
		}
	}
	old := State[sshSessions](w).old
	for _, row := range rows {
		value := func(name, otherwise string) string {
			if row[name] == "" || row[name] == ":default" {
				return otherwise
			}
			return row[name]
		}
		login, server := value("user", old.user), value("hostname", old.server)
		if login == "" {
			me, err := user.Current()
			if err != nil {
				return Fail(result.ReasonConfig, result.BlameMonitor, "find out who stepwatch runs as: %w", err)
			}
			login = me.Username
		}
		if server == "" {
			server = "localhost"
		}
		if port := value("port", ""); port != "" {
			server = net.JoinHostPort(w.target.AddressOf(server), port)
		}
		l, err := oldLogin(ctx, w, a.Dir, server, map[string]string{"username": login, "keyfile": value("identity_file", "")})
		if err != nil {
			return err
		}
		if err := stay(ctx, w, l); err != nil {
			return err
		}
	}
	return nil
}
