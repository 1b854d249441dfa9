"""What models write back, read with patience and refused with precise complaints."""
