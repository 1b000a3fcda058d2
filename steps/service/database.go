package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stepwatch/stepwatch/agent/result"
	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/lifeline"
	"github.com/stepwatch/stepwatch/steps/limit"
	"github.com/stepwatch/stepwatch/steps/query"
	"github.com/stepwatch/stepwatch/steps/wording"
)

// Sentences about databases. One step runs a query, the next ones check the result.

func init() {
	steps.RegisterArea(steps.Area{Name: "database", Title: "Databases", Place: 140})
	steps.RegisterSettings("databases", func() steps.Block { return new(databaseSettings) })
	steps.RegisterKind(steps.Kind{Name: "database", Means: "a name under databases in stepwatch.yml", Pattern: `[^"]+`, Quote: `"`,
		Rule: steps.RuleUnknown,
		Check: func(a steps.Args, i int, known steps.Known) error {
			_, err := databaseNamed(known.Target, a.Text(i))
			return err
		}})
	const asks = " The database is one under databases in stepwatch.yml. The query runs as one statement in a read-only transaction. The server ends it when the scenario's time is over. " +
		"The sentences about the result follow."
	const measures = "Phases dns, connect, query. Measurements sql_rows (at most 10000 are read; absent when they are larger than 8 MB) and sql_value, if the result is one row with one number."
	const one = " The result must be one row with one value."
	steps.Register(
		steps.Definition{
			Area: "database", Sentence: `I query the database {database} for {text}`,
			Does:     "Queries a PostgreSQL or MySQL (MariaDB) database." + asks,
			Measures: measures,
			Example:  `When I query the database "records" for "SELECT count(*) FROM jobs WHERE failed_at IS NOT NULL"`,
			Func:     queryDatabase,
		},
		steps.Definition{
			Area: "database", Sentence: `I query the database {database}`,
			Does:     "The same, with the query in a doc string below." + asks,
			Measures: measures,
			Example:  "When I query the database \"records\"\n  \"\"\"\n  SELECT count(*) FROM jobs\n  WHERE run_at < now() - interval '1 hour'\n  \"\"\"",
			Func:     queryDatabase,
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives less than {number}`,
			Does:    "Fails unless the value is a number below this one." + one,
			Example: `Then the query gives less than 10`,
			Func:    judgeNumber("less than", func(got, limit float64) bool { return got < limit }),
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives more than {number}`,
			Does:    "Fails unless the value is a number above this one." + one,
			Example: `Then the query gives more than 0`,
			Func:    judgeNumber("more than", func(got, limit float64) bool { return got > limit }),
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives {number}`,
			Does:    "Fails unless the value is this number." + one,
			Example: `Then the query gives 0`,
			Func:    judgeNumber("", func(got, limit float64) bool { return got == limit }),
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives {text}`,
			Does:    "Fails unless the value is this text, in the server's format: PostgreSQL's booleans are t and f." + one,
			Example: `Then the query gives "streaming"`,
			Func:    queryGivesText,
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives a time in the last {duration}`,
			Does:     "Fails unless the value is a time not longer ago than this. Times without a zone are UTC. A time in the future fails." + one,
			Measures: "Measurement sql_age_seconds.",
			Example:  `Then the query gives a time in the last 2 hours`,
			Func:     queryGivesTime,
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives no rows`,
			Does:    "Fails when the query returns a row. The message shows the first one.",
			Example: `Then the query gives no rows`,
			Func:    queryGivesRows("no", func(int, int) bool { return false }),
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives at least {int} rows`,
			Does:    "Fails when the query returns fewer rows.",
			Example: `Then the query gives at least 1 rows`,
			Func:    queryGivesRows("at least", func(got, wanted int) bool { return got >= wanted }),
		},
		steps.Definition{
			Area: "database", Sentence: `the query gives at most {int} rows`,
			Does:    "Fails when the query returns more rows.",
			Example: `Then the query gives at most 20 rows`,
			Func:    queryGivesRows("at most", func(got, wanted int) bool { return got <= wanted }),
		},
	)
}

// Database is a database as features call it, and how it is opened.
type Database struct {
	Name     string // as features call it
	MySQL    bool   // MySQL or MariaDB; else PostgreSQL
	Address  string // "host:port", or the path of a socket or, for PostgreSQL, of its directory
	Database string // its name on the server
	User     string
	Password string // name of the secret; empty sends none
	TLS      bool   // verified TLS, or none
}

// Databases are the databases of stepwatch.yml, by the names that features use.
type Databases map[string]*Database

// databaseNamed returns the database that a feature calls name. The error lists the names there are.
func databaseNamed(t *steps.Target, name string) (*Database, error) {
	all := steps.SettingsOf[Databases](t)
	if d, found := all[name]; found {
		return d, nil
	}
	known := "it has none"
	if len(all) > 0 {
		known = "it has " + strings.Join(slices.Sorted(maps.Keys(all)), ", ")
	}
	return nil, steps.Fail(result.ReasonConfig, result.BlameScenario, "no database %q in stepwatch.yml (%s): add it under databases", name, known)
}

// databaseSettings is that part of stepwatch.yml.
type databaseSettings map[string]*oneDatabaseSettings

type oneDatabaseSettings struct {
	PostgreSQL string              `yaml:"postgresql" doc:"host, host:port, or the directory of a socket"`
	MySQL      string              `yaml:"mysql" doc:"of MySQL or MariaDB: host, host:port, or the path of a socket"`
	Name       string              `yaml:"name" doc:"what the server calls it; default for MySQL: none"`
	User       string              `yaml:"user" doc:"who may read and nothing else"`
	Password   *steps.SecretSource `yaml:"password" doc:"default: none is sent"`
	TLS        *bool               `yaml:"tls" doc:"verified TLS; default: for every host but this machine itself"`
}

// Validate implements Block.
func (all *databaseSettings) Validate(env *steps.Env) {
	found := make(Databases, len(*all))
	for name, d := range *all {
		if d == nil {
			d = &oneDatabaseSettings{}
		}
		found[name] = d.read(env, name)
	}
	env.Target.Set(found)
}

// read returns the database that features call name.
func (d *oneDatabaseSettings) read(env *steps.Env, name string) *Database {
	known := &Database{Name: name, MySQL: d.MySQL != "", Address: d.PostgreSQL + d.MySQL, Database: d.Name, User: d.User}
	port := "5432"
	if known.MySQL {
		port = "3306"
	}
	if !steps.OneOf(d.PostgreSQL != "", d.MySQL != "") {
		env.Refuse(name, "needs exactly one of postgresql or mysql: host, host:port or the path of a socket")
	}
	if known.TLS = !strings.HasPrefix(known.Address, "/"); known.TLS {
		host, _, err := net.SplitHostPort(known.Address)
		if err != nil {
			host = strings.Trim(known.Address, "[]")
			known.Address = net.JoinHostPort(host, port)
		}
		if strings.ContainsAny(host, " /\r\n@") {
			env.Refuse(name, "%q is not a host name or IP address", host)
		}
		ip := net.ParseIP(host)
		known.TLS = host != "localhost" && !(ip != nil && ip.IsLoopback())
	}
	if d.TLS != nil {
		known.TLS = *d.TLS
	}
	if d.User == "" {
		env.Refuse(name+".user", "is missing: a user who may read and nothing else")
	}
	if d.Name == "" && !known.MySQL {
		env.Refuse(name+".name", "is missing: the name that the database has on its server")
	}
	known.Password = env.Secret(name+".password", d.Password)
	return known
}

// queried is the result of the last query.
type queried struct {
	database string // empty until a step queries one
	answer   *query.Answer
}

func queryDatabase(ctx context.Context, w *steps.World, a steps.Args) error {
	q := steps.State[queried](w)
	if q.answer != nil {
		w.Memory().Free(q.answer.Size())
	}
	*q = queried{}
	d, err := databaseNamed(w.Target(), a.Text(0))
	if err != nil {
		return err
	}
	statement := ""
	switch {
	case len(a.Captured) > 1:
		statement = a.Text(1)
	case a.DocString != nil:
		statement = a.DocString.Content
	}
	if strings.TrimSpace(statement) == "" {
		return steps.FailScenario("the step has no query: write it in a doc string below, or after `for`")
	}
	server, err := d.server(ctx, w)
	if err != nil {
		return err
	}
	ctx, cancel := lifeline.WithEvidenceTime(ctx)
	defer cancel()
	before := w.PhaseTime()
	start := time.Now()
	answer, err := server.Run(ctx, statement)
	w.Phase("query", time.Since(start)-(w.PhaseTime()-before), "")
	if err != nil {
		return d.failure(ctx, server, err)
	}
	*q = queried{d.Name, answer}
	if !answer.More || answer.Rows == query.RowLimit {
		w.Measure("sql_rows", "Rows that the query returned.", float64(answer.Rows))
	}
	if value, err := q.one(); err == nil {
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			w.Measure("sql_value", "The number that the query returned.", n)
		}
	}
	w.Note("it returned " + q.shown())
	return nil
}

func (d *Database) server(ctx context.Context, w *steps.World) (*query.Server, error) {
	s := &query.Server{MySQL: d.MySQL, Address: d.Address, Database: d.Database, User: d.User, Memory: w.Memory()}
	if d.Password != "" {
		secret, err := w.Secret(ctx, d.Password)
		if err != nil {
			return nil, err
		}
		s.Password = secret.Reveal()
	}
	if d.TLS {
		host, _, err := net.SplitHostPort(d.Address)
		if err != nil {
			return nil, steps.FailScenario("the database %q has the address %q, which is not a host and port: TLS needs one", d.Name, d.Address)
		}
		if s.TLS, err = w.TLSConfig(host); err != nil {
			return nil, err
		}
	}
	s.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if network == "unix" {
			return steps.Dialer.DialContext(ctx, network, address)
		}
		return w.Dial(ctx, address, result.BlameTarget)
	}
	return s, nil
}

// failure returns the Failure for a query without a result.
func (d *Database) failure(ctx context.Context, server *query.Server, err error) error {
	act := fmt.Sprintf("query the database %q", d.Name)
	known, unverified, refusal, tooLarge := (*steps.Failure)(nil), (*tls.CertificateVerificationError)(nil), (*query.Refusal)(nil), (*limit.Error)(nil)
	is := func(kinds ...error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
	}
	remedy := ""
	reason, blame := result.ReasonRefused, result.BlameTarget
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &unverified):
		return steps.FailHandshake(ctx, err, result.BlameTarget, server.TLS)
	case is(query.ErrNoTLS):
		return steps.Fail(result.ReasonTLS, result.BlameTarget, "%s: %w: enable it on the server, or set tls: false under databases.%s in stepwatch.yml", act, err, d.Name)
	case is(query.ErrTimeout):
		reason, remedy = result.ReasonTimeout, ": give the scenario more time with @timeout, or the query an index"
	case is(query.ErrLogin):
		reason, remedy = result.ReasonAuth, fmt.Sprintf(": check user and password under databases.%s in stepwatch.yml", d.Name)
	case is(query.ErrDatabase, query.ErrMissing):
		reason = result.ReasonNotFound
	case is(query.ErrDenied):
		reason, blame, remedy = result.ReasonConfig, result.BlameScenario, fmt.Sprintf(": GRANT the user %q the right to read the data", d.User)
	case is(query.ErrStatement, query.ErrWrites):
		reason, blame = result.ReasonScenario, result.BlameScenario
	case is(query.ErrNothing):
		return steps.FailScenario("%s: %w: write a query that begins with SELECT", act, err)
	case errors.As(err, &tooLarge):
		return steps.Fail(result.ReasonTooLarge, result.BlameTarget, "%s: %w", act, err)
	case is(query.ErrProtocol):
		how := ""
		if breach := (*query.Breach)(nil); errors.As(err, &breach) {
			how = " (" + breach.Said + ")"
		}
		return steps.Fail(result.ReasonProtocol, result.BlameTarget, "%s: what the server sends breaks the protocol of %s%s: check that %s is such a server", act, map[bool]string{true: "MySQL", false: "PostgreSQL"}[d.MySQL], how, d.Address)
	case is(query.ErrStarting):
		reason = result.ReasonDeferred
	case !errors.As(err, &refusal) && is(fs.ErrNotExist):
		return steps.Fail(result.ReasonConnect, result.BlameTarget, "%s: there is no socket %s: check that the server runs", act, d.Address)
	case !errors.As(err, &refusal) && is(fs.ErrPermission):
		return steps.FailDenied(act, err)
	case !errors.As(err, &refusal):
		return steps.FailNet(ctx, err, result.BlameTarget, act)
	}
	return steps.Fail(reason, blame, "%s: %s%s", act, wording.Excerpt(err.Error()), remedy)
}

// shown formats the result of the query for a message.
func (q *queried) shown() string {
	if q.answer.Rows == 0 {
		return "no rows"
	}
	values := make([]string, len(q.answer.First))
	for i, v := range q.answer.First {
		if values[i] = wording.Quote(wording.Excerpt(v.Text)); v.Null {
			values[i] = "NULL"
		}
	}
	text := wording.Excerpt(strings.Join(values, ", "))
	more := q.answer.Rows - 1
	switch {
	case q.answer.More && more == 0:
		text += " and more rows"
	case q.answer.More:
		text += fmt.Sprintf(" and over %d more rows", more)
	case more > 0:
		text += fmt.Sprintf(" and %d more rows", more)
	}
	return text
}

func lastQuery(w *steps.World) (*queried, error) {
	q := steps.State[queried](w)
	if q.database == "" {
		return nil, steps.FailScenario("no database has been queried yet: write `I query the database \"records\" for \"SELECT count(*) FROM jobs\"` before this step")
	}
	return q, nil
}

// one returns the value of a result with one row and one column.
func (q *queried) one() (string, error) {
	switch {
	case q.answer.Rows == 0:
		return "", steps.Fail(result.ReasonNotFound, result.BlameTarget, "the query of the database %q returned no row, wanted one", q.database)
	case len(q.answer.First) != 1, q.answer.Rows > 1, q.answer.More:
		return "", steps.FailScenario("the query of the database %q returned %s, wanted one row with one value: change the query", q.database, q.shown())
	case q.answer.First[0].Null:
		return "", steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned NULL: there are no rows to compute %s from", q.database, q.answer.Columns[0])
	}
	return q.answer.First[0].Text, nil
}

// lastValue returns the only value of the last result.
func lastValue(w *steps.World) (*queried, string, error) {
	q, err := lastQuery(w)
	if err != nil {
		return nil, "", err
	}
	value, err := q.one()
	return q, value, err
}

func judgeNumber(word string, fits func(got, limit float64) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		q, value, err := lastValue(w)
		if err != nil {
			return err
		}
		limit, err := a.Number(0)
		if err != nil {
			return err
		}
		got, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return steps.FailScenario("the query of the database %q returned %s, which is not a number", q.database, q.shown())
		}
		if !fits(got, limit) {
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned %s, wanted %s", q.database, wording.Excerpt(value), strings.TrimSpace(word+" "+a.Text(0)))
		}
		return nil
	}
}

func queryGivesText(_ context.Context, w *steps.World, a steps.Args) error {
	q, value, err := lastValue(w)
	if err != nil {
		return err
	}
	if value != a.Text(0) {
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned %s, wanted %s", q.database, q.shown(), wording.Quote(a.Text(0)))
	}
	return nil
}

// sqlTimes are the time formats of PostgreSQL (DateStyle ISO) and MySQL.
var sqlTimes = []string{"2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999", "2006-01-02"}

func queryGivesTime(_ context.Context, w *steps.World, a steps.Args) error {
	q, value, err := lastValue(w)
	if err != nil {
		return err
	}
	limit, err := a.Duration(0)
	if err != nil {
		return err
	}
	var at time.Time
	for _, layout := range sqlTimes {
		if t, err := time.Parse(layout, value); err == nil {
			at = t
			break
		}
	}
	if at.IsZero() {
		return steps.FailScenario("the query of the database %q returned %s, which is not a time", q.database, q.shown())
	}
	age := time.Since(at)
	w.Measure("sql_age_seconds", "Seconds since the time that the query returned.", age.Seconds())
	switch {
	case age < -steps.ClockTolerance:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned %s, which is %s from now: a clock is wrong, or the time is not in UTC", q.database, value, wording.Span(-age))
	case age > limit:
		return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned %s, which is %s ago, wanted in the last %s", q.database, value, wording.Span(age), a.Text(0))
	}
	w.Note(wording.Span(age) + " ago")
	return nil
}

// queryGivesRows returns the function of a sentence about the number of rows. word is "no" if the sentence has no
// number.
func queryGivesRows(word string, fits func(got, wanted int) bool) func(context.Context, *steps.World, steps.Args) error {
	return func(_ context.Context, w *steps.World, a steps.Args) error {
		q, err := lastQuery(w)
		if err != nil {
			return err
		}
		wanted, number := word+" rows", 0
		if word != "no" {
			if number, err = a.Int(0); err != nil {
				return err
			}
			wanted = fmt.Sprintf("%s %d rows", word, number)
		}
		rows := q.answer.Rows
		if q.answer.More && (number > rows || number == rows && fits(rows, number) && !fits(rows+1, number)) {
			return steps.FailScenario("the query of the database %q returned more rows than the limit of %d, so they cannot be counted: select count(*)", q.database, rows)
		}
		if word == "no" && rows > 0 || word != "no" && !fits(rows, number) {
			return steps.Fail(result.ReasonUnexpected, result.BlameTarget, "the query of the database %q returned %d rows, wanted %s: %s", q.database, rows, wanted, q.shown())
		}
		return nil
	}
}
