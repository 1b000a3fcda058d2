package bench

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BenchmarkReload reloads an agent that asks a thousand pages a second, fifty times. Each time, the feature has other scenarios:
// one more, one less, and one with another text. It tells how long a reload takes, from the request to its answer and in the
// agent's own words, how much CPU time it costs besides the runs, and how late runs begin meanwhile. It fails if a run of a
// scenario that stays is left out or takes place twice, as the server sees it (a machine that is too busy misses runs, which are
// counted), if a counter begins again, or if memory or descriptors grow.
func BenchmarkReload(b *testing.B) {
	const targets, reloads = 1000, 50
	for b.Loop() {
		s := startSite(b, site{Targets: targets})
		row := stepwatchRows(b, s, "1s")[0]
		feature := row.command[len(row.command)-1]
		cmd := exec.Command(row.command[0], append([]string{"agent", "--watch=false"}, row.command[2:]...)...)
		cmd.Dir = b.TempDir()
		cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_STATE_HOME="+cmd.Dir)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		said := &talk{after: row.says, found: make(chan string, 1)}
		var reading sync.WaitGroup
		reading.Go(func() { said.read(stderr) })
		url := <-said.found
		time.Sleep(row.warm)
		pids := family(cmd.Process.Pid)
		worker := pids[len(pids)-1]
		text, err := os.ReadFile(feature)
		if err != nil {
			b.Fatal(err)
		}
		head, scenarios := scenariosOf(string(text))

		calm, _ := scrape(b, url, "identity")
		idle := cpuOf(pids)
		time.Sleep(20 * time.Second)
		perSecond := (cpuOf(pids) - idle) / 20
		before, _ := scrape(b, url, "identity")
		firstRSS, firstFiles := 0.0, 0
		var took, own, used []time.Duration
		begun := time.Now()
		for i := range reloads {
			write(b, feature, head, scenarios[:len(scenarios)-1-i%2], i)
			cpu, asked := cpuOf(pids), time.Now()
			answer := reload(b, url)
			took = append(took, time.Since(asked))
			time.Sleep(500 * time.Millisecond) // what it leaves to the collector counts
			cost := cpuOf(pids) - cpu - time.Duration(float64(perSecond)*time.Since(asked).Seconds())
			used = append(used, cost)
			ms, err := strconv.Atoi(regexp.MustCompile(` in (\d+) ms`).FindStringSubmatch(answer)[1])
			if err != nil || !strings.Contains(answer, " 1 changed, ") && i > 0 {
				b.Errorf("the answer is %q", answer)
			}
			own = append(own, time.Duration(ms)*time.Millisecond)
			if i == 10 {
				firstRSS, firstFiles = residentOf(worker), filesOf(worker)
			}
		}
		during := time.Since(begun)
		rss, files := residentOf(worker), filesOf(worker)
		after, _ := scrape(b, url, "identity")
		_ = cmd.Process.Signal(syscall.SIGTERM)
		reading.Wait()
		_ = cmd.Wait() // by the signal

		slices.Sort(took)
		slices.Sort(own)
		slices.Sort(used)
		b.ReportMetric(ms(took[len(took)/2]), "p50-ms")
		b.ReportMetric(ms(took[len(took)-1]), "max-ms")
		b.ReportMetric(ms(own[len(own)/2]), "own-p50-ms")
		b.ReportMetric(ms(used[len(used)/2]), "cpu-p50-ms")
		b.ReportMetric(firstRSS, "MB-after-10")
		b.ReportMetric(rss, "MB-after-50")
		b.Logf("%s; late %v", delays(calm, before), sum(before, "stepwatch_runs_late_total")-sum(calm, "stepwatch_runs_late_total"))
		b.Logf("%d reloads in %s; %s; late %v of %v runs; missed %v; goroutines %v, then %v; descriptors %d, then %d", reloads, during.Round(time.Second),
			delays(before, after), sum(after, "stepwatch_runs_late_total")-sum(before, "stepwatch_runs_late_total"),
			sum(after, "stepwatch_scenario_runs_total")-sum(before, "stepwatch_scenario_runs_total"), sum(after, "stepwatch_runs_missed_total"),
			sum(before, "go_goroutines"), sum(after, "go_goroutines"), firstFiles, files)
		if rss > firstRSS*1.3 || files > firstFiles+20 {
			b.Errorf("memory grew from %.0f to %.0f MB, descriptors from %d to %d", firstRSS, rss, firstFiles, files)
		}
		arrivals := s.end()
		perTarget := make(map[int64][]int64)
		for _, a := range arrivals {
			perTarget[a[0]] = append(perTarget[a[0]], a[1])
		}
		odd := 0
		for i := range int64(targets - 2) {
			times := perTarget[i]
			slices.Sort(times)
			for j := 1; j < len(times); j++ {
				if gap := time.Duration(times[j] - times[j-1]); gap < 500*time.Millisecond || gap > 1500*time.Millisecond {
					odd++
				}
			}
			name := fmt.Sprintf("stepwatch_scenario_runs_total{feature=\"Load\",scenario=\"Page %d\",status=\"passed\"} ", i)
			_, rest, _ := strings.Cut(after, name)
			value, _, _ := strings.Cut(rest, "\n")
			if n, err := strconv.Atoi(value); err != nil || n > len(times) || n < len(times)-3 {
				b.Errorf("page %d: the server counts %d requests, the page of metrics %q", i, len(times), value)
			}
		}
		missed := sum(after, "stepwatch_runs_missed_total")
		b.Logf("%d times the server saw two requests for a page less than 0.5 s or more than 1.5 s apart; the agent counts %v missed runs", odd, missed)
		if odd > 0 && missed == 0 {
			b.Error("no run was missed, so all should have come")
		}
	}
}

// scenariosOf splits a feature.
func scenariosOf(text string) (head string, scenarios []string) {
	parts := strings.Split(text, "  Scenario: ")
	for _, p := range parts[1:] {
		scenarios = append(scenarios, "  Scenario: "+p)
	}
	return parts[0], scenarios
}

// write writes a feature whose first scenario has another text each time.
func write(b *testing.B, path, head string, scenarios []string, i int) {
	b.Helper()
	scenarios = slices.Clone(scenarios)
	scenarios[0] += fmt.Sprintf("    And I should not see \"%d\"\n", i)
	next := filepath.Join(filepath.Dir(path), ".next")
	if err := os.WriteFile(next, []byte(head+strings.Join(scenarios, "")), 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		b.Fatal(err)
	}
}

// reload asks for a reload and returns the answer.
func reload(b *testing.B, page string) string {
	b.Helper()
	response, err := http.Post(strings.TrimSuffix(page, "/metrics")+"/-/reload", "", nil)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		b.Fatal(response.Status, string(answer), err)
	}
	return string(answer)
}

// filesOf returns the number of descriptors of a process.
func filesOf(pid int) int {
	entries, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	return len(entries)
}

// sum adds the values of a metric on a page.
func sum(page, name string) (total float64) {
	for _, line := range strings.Split(page, "\n") {
		if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err == nil {
				total += value
			}
		}
	}
	return total
}

// delays tells how late runs began between two pages.
func delays(before, after string) string {
	var said []string
	all := sum(after, "stepwatch_run_delay_seconds_count") - sum(before, "stepwatch_run_delay_seconds_count")
	for _, le := range []string{"0.001", "0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5"} {
		line := `stepwatch_run_delay_seconds_bucket{le="` + le + `"}`
		said = append(said, fmt.Sprintf("%s s: %.2f %%", le, 100*(valueOf(after, line)-valueOf(before, line))/all))
	}
	return "began at most so late: " + strings.Join(said, ", ")
}

func valueOf(page, series string) float64 {
	_, rest, _ := strings.Cut(page, "\n"+series+" ")
	value, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(value, 64)
	return n
}
