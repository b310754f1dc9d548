/** The wind: the sign of Meltemi. */
export function Mark() {
  return (
    <svg className="mark" viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect width="32" height="32" rx="8" className="mark-ground" />
      <g fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round">
        <path d="M6 11h12.500a3.500 3.500 0 1 0-3.500-3.500" />
        <path d="M6 16.500h19" />
        <path d="M6 22h10.500a3.250 3.250 0 1 1-3.250 3.250" />
      </g>
    </svg>
  );
}
