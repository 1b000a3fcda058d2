# Is what the mail server says of itself right? Many have an exporter for Prometheus. stepwatch reads one sample of it as
# Prometheus would, so that an exporter that is down, or that has lost the sample, is told as well: Prometheus alone stays
# silent about a sample that is not there.
#
# Needs in stepwatch.yml: host "mx1" with its address, unless that name resolves. Put your exporter's port and the names of
# its samples in here.
@every:1m
Feature: Exporter of the mail server

  Scenario: The queue is short by the exporter's count
    When I scrape "http://mx1:8080/metrics"
    Then the sample "mta_queue_length" is below 1000
