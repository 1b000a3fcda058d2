package command

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
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/sshclient"
)

// Sentences of cucumber-nagios 0.8 and of cuken about SSH. Their tables contain passwords; `lint` warns about that.

func init() {
	const area = "cucumber-nagios"
	const table = " The columns of the table are hostname, username, password or keyfile. Instead of password, use secret: a name under secrets in stepwatch.yml. A " +
		"server is a host name, with :port when that is not 22, or a name under hosts in stepwatch.yml (with its ssh.port). Its key must be in the known_hosts."
	const measures = "Phases dns, connect, login."
	steps.Register(
		steps.Definition{Area: area, Sentence: "I have no public keys set",
			Does: "From now on, logins use passwords only.", Example: `Given I have no public keys set`, Func: noPublicKeys},
		steps.Definition{Area: area, Sentence: "I have the following public keys:",
			Does:    "From now on, logins also use these private keys. The table has the column keyfile, with paths relative to the feature file.",
			Example: "Given I have the following public keys:\n  | keyfile |\n  | /etc/stepwatch/id_ed25519 |", Func: publicKeys},
		steps.Definition{Area: area, Sentence: "I can ssh to {server} with the following credentials:",
			Does: "Fails unless the login of each row of the table succeeds." + table, Measures: measures,
			Example: "Then I can ssh to \"www.example.org\" with the following credentials:\n  | username | keyfile |\n  | monitor | /etc/stepwatch/id_ed25519 |", Func: canLogIn},
		steps.Definition{Area: area, Sentence: "I can ssh to the following hosts with these credentials:",
			Does: "Fails unless the login of each row of the table succeeds." + table, Measures: measures,
			Example: "Then I can ssh to the following hosts with these credentials:\n  | hostname | username | secret |\n  | www.example.org | monitor | ssh |", Func: canLogIn},
		steps.Definition{Area: area, Sentence: "I ssh to {server} with the following credentials:",
			Does: "Logs in with the first row of the table and stays logged in: from now on, \"I run\" with double quotes runs there." + table, Measures: measures,
			Example: "When I ssh to \"www.example.org\" with the following credentials:\n  | username | secret |\n  | monitor | ssh |", Func: stayLoggedIn},

		steps.Definition{Area: area, Sentence: "a SSH client user {text}", Does: "Sets the user for `I initialize password-less SSH access`.",
			Example: `Given a SSH client user "monitor"`, Func: func(_ context.Context, w *steps.World, a steps.Args) error {
				steps.State[sshSessions](w).old.user = a.Text(0)
				return nil
			}},
		steps.Definition{Area: area, Sentence: "a SSH client hostname {text}", Does: "Sets the server for `I initialize password-less SSH access`.",
			Example: `Given a SSH client hostname "www.example.org"`, Func: func(_ context.Context, w *steps.World, a steps.Args) error {
				steps.State[sshSessions](w).old.server = a.Text(0)
				return nil
			}},
		steps.Definition{Area: area, Sentence: "default ssh-forever options", Also: []string{"a SSH client user", "a SSH client hostname"},
			Does:    "Makes `I initialize password-less SSH access` log in to the machine that stepwatch runs on, as the user of stepwatch, unless another step sets them.",
			Example: `Given default ssh-forever options`, Func: nothingToDo},
		steps.Definition{Area: area, Sentence: "I initialize password-less SSH access",
			Does: "Logs in with a key, without a password, and stays logged in. It installs no key on the server.", Measures: measures,
			Example: `When I initialize password-less SSH access`, Func: logInByKey},
		steps.Definition{Area: area, Sentence: "I initialize password-less SSH access for:", Also: []string{"the ssh-forever options:"},
			Does: "Fails unless the login of each row of the table succeeds with a key, without a password. The last login stays open. The columns are user, hostname, port and identity_file. " +
				"It installs no key on the servers.", Measures: measures,
			Example: "When I initialize password-less SSH access for:\n  | user | hostname |\n  | monitor | www.example.org |", Func: logInByKey},
	)
}

// oldSSH holds the settings from steps with the old sentences.
type oldSSH struct {
	keyfiles     []string
	noKeys       bool
	user, server string
}

// rowsOf returns the rows of a table, each a map from column to cell.
func rowsOf(a steps.Args, columns ...string) ([]map[string]string, error) {
	if len(a.Table) < 2 {
		return nil, steps.FailScenario("the step needs a table below it: | %s | and then the values", strings.Join(columns, " | "))
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

func noPublicKeys(_ context.Context, w *steps.World, _ steps.Args) error {
	steps.State[sshSessions](w).old = oldSSH{noKeys: true}
	return nil
}

func publicKeys(_ context.Context, w *steps.World, a steps.Args) error {
	rows, err := rowsOf(a, "keyfile")
	if err != nil {
		return err
	}
	old := &steps.State[sshSessions](w).old
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

// beside returns the path that a table names, relative to the feature file's directory, or to the user's home with
// "~/".
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

// ownKeys returns the paths of the keys that ssh itself would offer.
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

// oldLogin returns the login that a row of credentials describes.
func oldLogin(ctx context.Context, w *steps.World, dir, server string, row map[string]string) (sshclient.Login, error) {
	old := steps.State[sshSessions](w).old
	if row["hostname"] != "" {
		server = row["hostname"]
	}
	l := sshclient.Login{User: row["username"], Password: row["password"]}
	if server == "" || l.User == "" {
		return l, steps.FailScenario("the table has no %s", map[bool]string{true: "hostname", false: "username"}[server == ""])
	}
	w.Redact(l.Password)
	l.Address = w.Target().AddressOf(server)
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		port := 22
		if host, known := w.Target().Hosts[server]; known && steps.PartOf[*SSH](host) != nil {
			port = steps.PartOf[*SSH](host).Port
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
		return l, steps.FailScenario("the table has neither a secret, a password nor a keyfile to log in with")
	}
	return l, nil
}

func canLogIn(ctx context.Context, w *steps.World, a steps.Args) error {
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
		_ = session.client.Close() // the step checks only that it opened
	}
	return nil
}

func stayLoggedIn(ctx context.Context, w *steps.World, a steps.Args) error {
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

func stay(ctx context.Context, w *steps.World, l sshclient.Login) error {
	session, err := openSSH(ctx, w, l.Address, l)
	if err != nil {
		return err
	}
	sessions := steps.State[sshSessions](w)
	sessions.keep(session)
	sessions.last = session
	w.Note(session.client.Server())
	return nil
}

func logInByKey(ctx context.Context, w *steps.World, a steps.Args) error {
	rows := []map[string]string{{}}
	if len(a.Table) > 0 {
		var err error
		if rows, err = rowsOf(a, "user", "hostname"); err != nil {
			return err
		}
	}
	old := steps.State[sshSessions](w).old
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
				return steps.Fail(result.ReasonConfig, result.BlameMonitor, "find the user that stepwatch runs as: %w", err)
			}
			login = me.Username
		}
		if server == "" {
			server = "localhost"
		}
		if port := value("port", ""); port != "" {
			server = net.JoinHostPort(w.Target().AddressOf(server), port)
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
