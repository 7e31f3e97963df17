import org.apache.hadoop.hbase.HBaseConfiguration;
import org.apache.hadoop.hbase.NamespaceDescriptor;
import org.apache.hadoop.hbase.NamespaceExistException;
import org.apache.hadoop.hbase.client.Admin;
import org.apache.hadoop.hbase.client.Connection;
import org.apache.hadoop.hbase.client.ConnectionFactory;

/** CreateNamespace NAME: makes a namespace unless it is there. The Thrift server cannot. */
public class CreateNamespace {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = ConnectionFactory.createConnection(HBaseConfiguration.create());
                Admin admin = connection.getAdmin()) {
            admin.createNamespace(NamespaceDescriptor.create(arguments[0]).build());
        } catch (NamespaceExistException exists) {
            // an earlier attempt was interrupted after it
        }
    }
}
