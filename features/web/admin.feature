# Are strangers kept out of the administration? It must redirect to HTTPS, so that nobody types a password in clear
# text. It must not accept the default password of the software: scanners try that within hours.
#
# Replace address, labels and texts with those of your site. The rows are defaults from public lists; add those of your
# software. If your site locks an account after wrong logins, use names that do not exist there.
@every:15m
Feature: Administration

  Scenario: Plain HTTP leads to HTTPS
    When I go to "http://www.example.org/admin"
    Then I should be on "https://www.example.org/admin"
    And I should have been redirected from "http://www.example.org/admin" with 301

  Scenario Outline: Default credentials are refused: <user>
    Given I go to "https://www.example.org/admin"
    And I fill in "User name" with "<user>"
    And I fill in "Password" with "<password>"
    When I press "Log in"
    Then I should see "Wrong name or password"

    Examples:
      | user  | password |
      | admin | admin    |
      | admin | password |
      | root  | root     |
