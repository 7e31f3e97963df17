import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/**
 * What a JDBC client sees. Reads one request a line, its parts separated by tabs, and answers each with one line of JSON: rows as
 * objects whose values are text or null, or {"error": "…"}.
 */
public final class Probe {
    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                try {
                    out.println(answer(connection, line.split("\t", -1)));
                } catch (SQLException | RuntimeException error) {
                    out.println("{\"error\":" + quoted(String.valueOf(error.getMessage())) + "}");
                }
            }
        }
        // Threads of the driver would keep the process for a while.
        System.exit(0);
    }

    private static String answer(Connection connection, String[] request) throws SQLException {
        var about = connection.getMetaData();
        switch (request[0]) {
            case "product":
                return "[{\"name\":" + quoted(about.getDatabaseProductName())
                    + ",\"version\":" + quoted(about.getDatabaseProductVersion())
                    + ",\"quote\":" + quoted(about.getIdentifierQuoteString())
                    + ",\"keywords\":" + quoted(about.getSQLKeywords())
                    + ",\"functions\":" + quoted(about.getStringFunctions())
                    + ",\"read_only\":" + quoted(String.valueOf(about.isReadOnly())) + "}]";
            case "catalogs":
                return rows(about.getCatalogs());
            case "schemas":
                return rows(about.getSchemas());
            case "tables":
                return rows(about.getTables(null, null, request[1], new String[] {"TABLE"}));
            case "table types":
                return rows(about.getTableTypes());
            case "columns":
                return rows(about.getColumns(null, null, request[1], "%"));
            case "types":
                return rows(about.getTypeInfo());
            case "primary keys":
                return rows(about.getPrimaryKeys(null, null, request[1]));
            case "imported keys":
                return rows(about.getImportedKeys(null, null, request[1]));
            case "query":
                try (Statement statement = connection.createStatement()) {
                    return rows(statement.executeQuery(request[1]));
                }
            case "update":
                try (Statement statement = connection.createStatement()) {
                    return "[{\"updated\":" + statement.executeUpdate(request[1]) + "}]";
                }
            case "prepared":
                try (PreparedStatement statement = connection.prepareStatement(request[1])) {
                    for (int n = 2; n < request.length; n++) {
                        bind(statement, n - 1, request[n]);
                    }
                    return rows(statement.executeQuery());
                }
            default:
                throw new IllegalArgumentException(request[0]);
        }
    }

    /** A value is written as `type:text`. */
    private static void bind(PreparedStatement statement, int index, String written) throws SQLException {
        String type = written.substring(0, written.indexOf(':'));
        String text = written.substring(type.length() + 1);
        switch (type) {
            case "long" -> statement.setLong(index, Long.parseLong(text));
            case "int" -> statement.setInt(index, Integer.parseInt(text));
            case "double" -> statement.setDouble(index, Double.parseDouble(text));
            case "string" -> statement.setString(index, text);
            case "date" -> statement.setDate(index, Date.valueOf(text));
            case "timestamp" -> statement.setTimestamp(index, Timestamp.valueOf(text));
            default -> throw new IllegalArgumentException(type);
        }
    }

    private static String rows(ResultSet found) throws SQLException {
        ResultSetMetaData columns = found.getMetaData();
        List<String> rows = new ArrayList<>();
        while (found.next()) {
            List<String> cells = new ArrayList<>();
            for (int n = 1; n <= columns.getColumnCount(); n++) {
                // The driver gives no object for an instant with a zone.
                boolean zoned = columns.getColumnType(n) == Types.TIMESTAMP_WITH_TIMEZONE;
                Object value = zoned ? found.getTimestamp(n) : found.getObject(n);
                cells.add(quoted(columns.getColumnLabel(n)) + ":" + (value == null ? "null" : quoted(value.toString())));
            }
            rows.add("{" + String.join(",", cells) + "}");
        }
        found.close();
        return "[" + String.join(",", rows) + "]";
    }

    private static String quoted(String text) {
        StringBuilder quoted = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                quoted.append('\\').append(c);
            } else if (c < ' ') {
                quoted.append(String.format("\\u%04x", (int) c));
            } else {
                quoted.append(c);
            }
        }
        return quoted.append('"').toString();
    }
}
