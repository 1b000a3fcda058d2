# Do visitors with IPv6 alone reach the site as those with IPv4 do? Browsers hide it when one of the two is broken, by taking
# the other, so each is tried alone.
#
# Replace www.example.org. The same for the mail host: its ports are 25, 587 and 993.
@every:5m
Feature: IPv6

  Scenario Outline: The site answers over <family>
    When I connect to "www.example.org:443" over <family>
    Then its certificate is for "www.example.org"
    And its certificate is trusted

    Examples:
      | family |
      | IPv4   |
      | IPv6   |
