//go:build linux

package stack_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stepwatch/stepwatch/steps"
	"github.com/stepwatch/stepwatch/steps/service"
	"github.com/stepwatch/stepwatch/steps/stepstest"
	"github.com/stepwatch/stepwatch/steps/stepstest/stack"
)

// databases starts PostgreSQL and MariaDB with TLS, and in each a database of an application that a user may read, and gives
// what runs statements as their administrators.
func databases(t *testing.T, s *stack.Stack) (administer map[string]func(t *testing.T, sql string)) {
	t.Helper()
	all, err := s.Secured()
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{"postgresql": true, "mariadb-server": true}
	for _, missing := range stack.Missing() {
		if wanted[missing.Name] {
			t.Skipf("needs the Debian package %s: run .ci/install", missing.Name)
		}
	}
	var started sync.WaitGroup
	for _, server := range all {
		if !wanted[server.Name] {
			continue
		}
		t.Cleanup(func() {
			if err := server.Stop(); err != nil {
				t.Error(err)
			}
			if err := os.RemoveAll(filepath.Join(s.Dir, "secured", server.Name, "data")); err != nil {
				t.Error(err)
			}
		})
		started.Go(func() {
			if err := server.Start(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	started.Wait()
	if t.Failed() {
		t.FailNow()
	}
	data := func(server string) string { return filepath.Join(s.Dir, "secured", server, "data") }
	run := func(program string, args ...string) func(t *testing.T, sql string) {
		return func(t *testing.T, sql string) {
			t.Helper()
			if code, out := execute(t, program, append(args, sql)...); code != 0 {
				t.Fatalf("%s: %s", sql, out)
			}
		}
	}
	psql := []string{"-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", data("postgresql"), "-U", "postgres"}
	administer = map[string]func(*testing.T, string){
		"postgresql": run("/usr/bin/psql", append(psql, "-d", "records", "-c")...),
		"mariadb":    run("/usr/bin/mariadb", "--no-defaults", "--socket="+data("mariadb-server")+"/socket", "--user=root", "--execute"),
	}
	run("/usr/bin/psql", append(psql, "-d", "postgres", "-c")...)(t, "CREATE DATABASE records")
	const hba = "local all all trust\nhostssl all all all scram-sha-256\n"
	if err := os.WriteFile(data("postgresql")+"/pg_hba.conf", []byte(hba), 0o644); err != nil {
		t.Fatal(err)
	}
	administer["postgresql"](t, "CREATE USER reader PASSWORD 'open sesame'; CREATE TABLE secrets (a int); "+application+
		"GRANT SELECT ON jobs, incoming_messages TO reader; SELECT pg_reload_conf()")
	administer["mariadb"](t, "CREATE DATABASE records; USE records; CREATE USER reader IDENTIFIED BY 'open sesame'; CREATE TABLE secrets (a int); "+application+
		"GRANT SELECT ON records.jobs TO reader; GRANT SELECT ON records.incoming_messages TO reader")
	return administer
}

const application = "CREATE TABLE jobs (id int, run_at timestamp NULL, failed_at timestamp NULL); CREATE TABLE incoming_messages (created_at timestamp NULL); " +
	"INSERT INTO jobs VALUES (1, now(), NULL), (2, now(), now()); INSERT INTO incoming_messages VALUES (now()), (NULL); "

// TestDatabases asks a real PostgreSQL and a real MariaDB, in all the ways that go wrong.
func TestDatabases(t *testing.T) {
	s := need(t)
	administer := databases(t, s)
	to, secrets := target(t, s, stack.Mail)
	secrets["right"], secrets["wrong"] = "open sesame", "abracadabra"
	address := map[string]string{"postgresql": stack.Changing + ":5432", "mariadb": stack.Changing + ":3306"}
	for kind, run := range administer {
		my, known := kind == "mariadb", service.Databases{}
		to.Set(known)
		add := func(name string, alter func(d *service.Database)) {
			d := &service.Database{Name: name, MySQL: my, Address: address[kind], Database: "records", User: "reader", Password: "right", TLS: true}
			alter(d)
			known[name] = d
		}
		add("db", func(*service.Database) {})
		add("wrong-password", func(d *service.Database) { d.Password = "wrong" })
		add("no-password", func(d *service.Database) { d.Password = "" })
		add("no-database", func(d *service.Database) { d.Database = "none" })
		add("closed", func(d *service.Database) { d.Address = stack.Changing + ":1" })
		add("other-name", func(d *service.Database) { d.Address = "127.0.0.13:" + address[kind][len(stack.Changing)+1:] })
		add("no-tls", func(d *service.Database) { d.TLS = false })
		add("socket", func(d *service.Database) {
			d.Address, d.TLS, d.Password, d.User = filepath.Join(s.Dir, "secured/postgresql/data"), false, "", "postgres"
			if my {
				d.Address, d.User = filepath.Join(s.Dir, "secured/mariadb-server/data/socket"), "root"
			}
		})
		add("no-socket", func(d *service.Database) { d.Address, d.TLS = "/run/none", false })
		either := func(postgres, mariadb string) string { return eitherOf(my, postgres, mariadb) }
		ask := func(database, sql string) string {
			return `When I query the database "` + database + `" for "` + sql + "\"\n"
		}
		const failed = `SELECT count(*) FROM jobs WHERE failed_at IS NOT NULL`
		sleep := either("SELECT pg_sleep(30)", "SELECT sleep(30) FROM jobs")
		many := either("SELECT i FROM generate_series(1, 10001) i", "SELECT i FROM (SELECT seq AS i FROM seq_1_to_10001) numbers")
		for text, want := range map[string]string{
			ask("db", failed) + "Then the query gives less than 2\nAnd the query gives more than 0.5\nAnd the query gives 1\nAnd the query gives \"1\"\nAnd the query gives at least 1 rows\nAnd the query gives at most 1 rows": "",
			ask("db", failed) + "Then the query gives less than 1":                                                                                      `the query of the database "db" returned 1, wanted less than 1 \(unexpected, blame target\)`,
			ask("db", failed) + "Then the query gives more than 1":                                                                                      `the query of the database "db" returned 1, wanted more than 1 \(unexpected, blame target\)`,
			ask("db", failed) + "Then the query gives 0":                                                                                                `the query of the database "db" returned 1, wanted 0 \(unexpected, blame target\)`,
			ask("db", failed) + `Then the query gives "many"`:                                                                                           `the query of the database "db" returned "1", wanted "many" \(unexpected, blame target\)`,
			ask("db", failed) + "Then the query gives no rows":                                                                                          `the query of the database "db" returned 1 rows, wanted no rows: "1" \(unexpected, blame target\)`,
			ask("db", failed) + "Then the query gives at least 2 rows":                                                                                  `the query of the database "db" returned 1 rows, wanted at least 2 rows: "1" \(unexpected, blame target\)`,
			ask("db", "SELECT id FROM jobs") + "Then the query gives at most 1 rows":                                                                    `the query of the database "db" returned 2 rows, wanted at most 1 rows: "1" and 1 more rows \(unexpected, blame target\)`,
			ask("db", "SELECT id FROM jobs WHERE id = 9") + "Then the query gives no rows":                                                              "",
			ask("db", "SELECT id FROM jobs WHERE id = 9") + "Then the query gives 1":                                                                    `the query of the database "db" returned no row, wanted one \(not_found, blame target\)`,
			ask("db", "SELECT max(created_at) FROM incoming_messages WHERE created_at IS NULL") + "Then the query gives less than 1":                    `the query of the database "db" returned NULL: there are no rows to compute max\S* from \(unexpected, blame target\)`,
			ask("db", "SELECT id, id FROM jobs WHERE id = 1") + "Then the query gives 1":                                                                `the query of the database "db" returned "1", "1", wanted one row with one value: change the query \(scenario, blame scenario\)`,
			ask("db", "SELECT 'x'") + "Then the query gives 1":                                                                                          `the query of the database "db" returned "x", which is not a number \(scenario, blame scenario\)`,
			ask("db", "SELECT max(created_at) FROM incoming_messages") + "Then the query gives a time in the last 1 hour":                               "",
			ask("db", either("SELECT now() - interval '3 hours'", "SELECT now() - interval 3 hour")) + "Then the query gives a time in the last 1 hour": `the query of the database "db" returned 20\S+ \S+, which is 3h 0m ago, wanted in the last 1 hour \(unexpected, blame target\)`,
			ask("db", either("SELECT now() + interval '3 hours'", "SELECT now() + interval 3 hour")) + "Then the query gives a time in the last 1 hour": `the query of the database "db" returned 20\S+ \S+, which is 2h 59m from now: .* \(unexpected, blame target\)`,
			ask("db", "SELECT 'x'") + "Then the query gives a time in the last 1 hour":                                                                  `the query of the database "db" returned "x", which is not a time \(scenario, blame scenario\)`,
			ask("socket", "SELECT 7") + "Then the query gives 7":                                                                                        "",
			ask("wrong-password", "SELECT 1"): `query the database "wrong-password": the login was refused: ` + either(`password authentication failed for user "reader" \(28P01\)`, `Access denied for user 'reader'@'\S+' \(using password: YES\) \(1045\)`) +
				`: check user and password under databases.wrong-password in stepwatch.yml \(auth, blame target\)`,
			ask("no-password", "SELECT 1"): `query the database "no-password": .*\(auth, blame target\)`,
			ask("no-database", "SELECT 1"): either(`query the database "no-database": there is no such database: database "none" does not exist \(3D000\) \(not_found, blame target\)`,
				`query the database "no-database": the user has no right to do that: Access denied for user 'reader'@'%' to database 'none' \(1044\): GRANT the user "reader" the right to read the data \(config, blame scenario\)`),
			ask("closed", "SELECT 1"):                                        `connect to changing.example.test:1: connection refused: nothing listens on that port \(connect, blame target\)`,
			ask("other-name", "SELECT 1"):                                    `TLS handshake with 127.0.0.13: .*\(certificate_host, blame target\)`,
			ask("no-tls", "SELECT 1"):                                        either(`query the database "no-tls": the login was refused: no pg_hba.conf entry for host .*, no encryption \(28000\): .* \(auth, blame target\)`, ""),
			ask("no-socket", "SELECT 1"):                                     `query the database "no-socket": there is no socket /run/none: check that the server runs \(connect, blame target\)`,
			ask("none", "SELECT 1"):                                          `no database "none" in stepwatch.yml \(it has closed, db, .*\): add it under databases \(config, blame scenario\)`,
			ask("db", "SELEC 1"):                                             `query the database "db": the query is wrong: .* \(scenario, blame scenario\)`,
			ask("db", "SELECT 1; SELECT 2"):                                  `query the database "db": the query is wrong: .* \(scenario, blame scenario\)`,
			ask("db", "SELECT * FROM nothing"):                               `query the database "db": ` + either(`the table, column or function of the query does not exist: relation "nothing" does not exist \(42P01\) \(not_found, blame target\)`, `the user has no right to do that: .*\(1142\): .* \(config, blame scenario\)`),
			ask("db", "SELECT * FROM secrets"):                               `query the database "db": the user has no right to do that: .*: GRANT the user "reader" the right to read the data \(config, blame scenario\)`,
			ask("socket", many) + "Then the query gives at most 10000 rows":  `the query of the database "socket" returned more rows than the limit of 10000, so they cannot be counted: .* \(scenario, blame scenario\)`,
			ask("socket", many) + "Then the query gives at least 10000 rows": "",
			ask("socket", many) + "Then the query gives at most 9999 rows":   `the query of the database "socket" returned 10000 rows, wanted at most 9999 rows: "1" and over 9999 more rows \(unexpected, blame target\)`,
			ask("socket", strings.Replace(many, " i ", " repeat('x', 6000000) ", 1)) + "Then the query gives at most 1 rows": `the query of the database "socket" returned more rows than the limit of 1, .* \(scenario, blame scenario\)`,
			ask("socket", strings.Replace(many, " i ", " repeat('x', 6000000) ", 1)) + `Then the query gives "x"`:            `the query of the database "socket" returned "x+…" and more rows, wanted one row with one value: change the query \(scenario, blame scenario\)`,
			ask("db", "-- SELECT 1") + "Then the query gives no rows":                                                        `query the database "db": the query returns nothing: write a query that begins with SELECT \(scenario, blame scenario\)`,
			ask("db", "COMMIT") + "Then the query gives no rows":                                                             `query the database "db": the query returns nothing: .*`,
			ask("db", either("SELECT repeat('x', 40000000)", "SELECT 1")):                                                    either(`query the database "db": a row of the result has 40000006 bytes, the limit is 16777216: select less data \(too_large, blame target\)`, ""),
			ask("socket", "DELETE FROM jobs"):                                                                                `query the database "socket": the query would change something, but it may only read: .* \(scenario, blame scenario\)`,
			ask("socket", "DROP TABLE jobs"):                                                                                 `query the database "socket": the query would change something, but it may only read: .* \(scenario, blame scenario\)`,
			ask("db", sleep):                                                                                                 `query the database "db": the query took too long and was ended: .*: give the scenario more time with @timeout, or the query an index \(timeout, blame target\)`,
			`When I query the database "db"`:                                                                                 "the step has no query: .* \\(scenario, blame scenario\\)",
			"Then the query gives 1":                                                                                         "no database has been queried yet: .*",
			"When I query the database \"db\"\n\"\"\"\nSELECT count(*)\nFROM jobs\n\"\"\"\nThen the query gives 2":           "",
		} {
			limit := 10 * time.Second
			if strings.Contains(text, "sleep") {
				limit = time.Second
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			outcome, err := stepstest.Scenario{Target: to, Secrets: secrets}.Run(ctx, text)
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := outcome.Err(); err != nil {
				failure, ok := err.(*steps.Failure) //nolint:errorlint // nothing may be around it
				if !ok {
					t.Errorf("%s: %s\nno Failure: %v", kind, text, err)
					continue
				}
				got = fmt.Sprintf("%v (%s, blame %s)", failure, failure.Reason, failure.Blame)
			}
			if !regexp.MustCompile("^(?:" + want + ")$").MatchString(got) {
				t.Errorf("%s: %s\ngot  %s\nwant %s", kind, text, got, want)
			}
			if strings.Contains(got, "sesame") || strings.Contains(got, "abracadabra") {
				t.Errorf("%s: %s: the password is in %s", kind, text, got)
			}
			if strings.HasPrefix(text, ask("db", failed)) {
				report := outcome.Steps[0].Report
				if len(report.Measurements) < 2 || report.Measurements[len(report.Measurements)-1].Name != "sql_value" || report.Measurements[len(report.Measurements)-1].Value != 1 || report.Note != `it returned "1"` {
					t.Errorf("%s: measured %+v, note %q", kind, report.Measurements, report.Note)
				}
			}
		}
		shippedDatabase(t, s, kind, address[kind], run)
	}
}

// shippedDatabase runs the shipped feature, and again when what it watches is broken.
func shippedDatabase(t *testing.T, s *stack.Stack, kind, address string, run func(*testing.T, string)) {
	t.Helper()
	my := kind == "mariadb"
	setting := eitherOf(my, "postgresql", "mysql")
	config := write(t, "stepwatch.yml", fmt.Sprintf("databases:\n  records:\n    %s: %s\n    name: records\n    user: reader\n    password: {file: password}\nresolver: 127.0.0.1:53\ntls: {ca: [%q]}\n",
		setting, address, filepath.Join(s.Dir, "ca.pem")))
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "password"), []byte("open sesame\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const feature = "../../../features/hosts/database.feature"
	if code, out := execute(t, stepwatch, "run", "--config", config, feature); code != 0 {
		t.Errorf("%s: exit code %d:\n%s", kind, code, out)
	}
	run(t, eitherOf(my, "", "USE records; ")+"INSERT INTO jobs SELECT 3, now() - interval '1' hour, NULL FROM jobs; DELETE FROM incoming_messages")
	code, out := execute(t, stepwatch, "run", "--config", config, feature)
	for _, want := range []string{`returned 2 rows, wanted no rows`, `returned NULL: there are no rows to compute max`, "1 passed, 2 failed"} {
		if code != 1 || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, wanted 1 and %q:\n%s", kind, code, want, out)
		}
	}
}

// eitherOf gives what is MariaDB's, or PostgreSQL's.
func eitherOf(mariaDB bool, postgres, mariadb string) string {
	if mariaDB {
		return mariadb
	}
	return postgres
}
