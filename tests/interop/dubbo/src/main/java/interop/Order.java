package interop;

import java.io.Serializable;
import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** An object with fields of many kinds. */
public class Order implements Serializable {
  public enum Colour { RED, GREEN }

  public static class Line implements Serializable {
    public String article;
    public int count;
    public BigDecimal price;
    public Colour colour;
  }

  public long number;
  public String customer;
  public Date placed;
  public boolean paid;
  public double weight;
  public List<Line> lines = new ArrayList<>();
  public Map<String, Line> byName = new LinkedHashMap<>();
  public byte[] picture;
  public Order replaces;
}
