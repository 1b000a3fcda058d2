# Did each job run? A cron job, a backup or a batch reports to the agent when it has ended. No report is a failure, and so is
# a report of one.
#
# Needs in stepwatch.yml jobs.backup and jobs.invoices with a secret, an agent that runs, and in the crontab:
#
#   0 3 * * * /usr/local/bin/backup; curl -fsS -m 10 --retry 5 -o /dev/null http://127.0.0.1:9469/ping/backup/SECRET/$?
#
# docs/jobs.md has the lines that report the start and the log, too, and what they look like for systemd. Replace names and
# times with yours.
@every:5m
Feature: Jobs that report

  Scenario: Last night's backup succeeded
    Then the job "backup" reported success between 02:00 and 06:30 in Europe/Berlin

  Scenario: The last backup did not fail
    Then the last run of the job "backup" succeeded

  # Some time more than the interval of the job, for the run itself.
  Scenario: Invoices are sent every hour
    Then the job "invoices" reported success in the last 70 minutes

  # The job must report its starts.
  Scenario: Invoices take no longer than they used to
    Then the job "invoices" took at most 10 minutes

  Scenario: No run of the backup hangs
    Then the job "backup" is not running for longer than 4 hours
