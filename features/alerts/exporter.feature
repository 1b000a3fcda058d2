# Does the mail server report good values about itself? Many mail servers have an exporter for Prometheus. stepwatch
# reads one sample of it as Prometheus would. So it also reports an exporter that is down, or a sample that is missing:
# Prometheus alone does not alert on a missing sample.
#
# Needs in stepwatch.yml: host "mx1" with its address, unless that name resolves. Put in the port of your exporter and
# the names of its samples.
@every:1m
Feature: Exporter of the mail server

  Scenario: The queue is short by the exporter's count
    When I scrape "http://mx1:8080/metrics"
    Then the sample "mta_queue_length" is below 1000
