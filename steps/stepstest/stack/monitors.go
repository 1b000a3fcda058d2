//go:build linux

package stack

import (
	"context"
	"fmt"
	"net/http"
	"os"
)

// PrometheusAddress is where Prometheus answers queries.
const PrometheusAddress = "127.0.0.1:9090"

// StartPrometheus starts a Prometheus that scrapes the agent at "host:port" once a second.
func (s *Stack) StartPrometheus(ctx context.Context, agent string) error {
	if err := os.MkdirAll(s.path("prometheus"), 0o755); err != nil {
		return err
	}
	config := s.path("etc/prometheus.yml")
	if err := s.render("etc/prometheus.yml", config, struct{ Agent string }{agent}); err != nil {
		return err
	}
	s.Prometheus = &Server{Name: "prometheus", Log: s.path("log/prometheus"),
		argv: []string{prometheusProgram, "--config.file=" + config, "--storage.tsdb.path=" + s.path("prometheus"),
			"--web.listen-address=" + PrometheusAddress},
		ready: []func(context.Context) error{answering("http://" + PrometheusAddress + "/-/ready")}}
	return s.Prometheus.Start(ctx)
}

// answering is ready when a GET of url gives 200.
func answering(url string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: got %s, want 200", url, response.Status)
		}
		return nil
	}
}

// Plugin is stepwatch as Nagios runs it.
type Plugin struct {
	Program  string // path of the binary
	Config   string // path of its stepwatch.yml
	Services []Service
}

// Service is what Nagios shows the state of: one feature.
type Service struct {
	Name string
	Path string // of the feature file
}

// StartNagios starts a Nagios that runs plugin for each service at once and then every five seconds. StatusFile has what
// it found. Nagios and the plugin run as the user nagios, who gets to read the accounts' passwords for it.
func (s *Stack) StartNagios(ctx context.Context, plugin Plugin) error {
	uid, gid, err := lookup("nagios")
	if err != nil {
		return err
	}
	for _, dir := range []string{"nagios", "nagios/results"} {
		if err := os.MkdirAll(s.path(dir), 0o755); err != nil {
			return err
		}
		if err := os.Chown(s.path(dir), uid, gid); err != nil {
			return err
		}
	}
	for _, a := range s.Config.Accounts {
		if a.PasswordFile == "" {
			continue
		}
		if err := os.Chown(a.PasswordFile, uid, gid); err != nil {
			return err
		}
	}
	data := struct {
		Plugin
		Dir, Domain string
	}{plugin, s.Dir, Domain}
	for _, name := range []string{"etc/nagios/nagios.cfg", "etc/nagios/objects.cfg"} {
		if err := s.render(name, s.path(name), data); err != nil {
			return err
		}
	}
	s.Nagios = &Server{Name: "nagios", Log: s.path("log/nagios"), argv: []string{nagiosProgram, s.path("etc/nagios/nagios.cfg")},
		ready: []func(context.Context) error{written(s.StatusFile())}}
	return s.Nagios.Start(ctx)
}

// StatusFile is where Nagios keeps the state of its services: status.dat.
func (s *Stack) StatusFile() string { return s.path("nagios/status.dat") }
