/** The cover of the book: a summit, the sun behind it, and the way up. Drawn here. */
export function Cover() {
  return (
    <svg className="cover" viewBox="0 0 120 176" role="img" aria-label="Cover: a way up a mountain, to the sun">
      <defs>
        <linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">
          <stop offset="0" stopColor="#0f3557" />
          <stop offset="0.62" stopColor="#2f7fa6" />
          <stop offset="1" stopColor="#f2c98a" />
        </linearGradient>
      </defs>
      <rect width="120" height="176" rx="6" fill="url(#sky)" />
      <circle cx="74" cy="74" r="22" fill="#ffe6b0" />
      <path d="M0 132 34 92l16 18 28-44 42 62v48H0z" fill="#123a56" />
      <path d="M78 66 64 88l9-3 7 8 6-9 8 5z" fill="#f4f8fb" />
      <path d="M0 148c26-14 46-6 64 0s40 4 56-8v30a6 6 0 0 1-6 6H6a6 6 0 0 1-6-6z" fill="#0a2438" />
      <path
        d="M20 166c22-4 34-10 30-20s12-14 18-22 2-16 8-26"
        fill="none"
        stroke="#ffe6b0"
        strokeWidth="1.6"
        strokeDasharray="3 3"
        strokeLinecap="round"
      />
      <rect x="0" y="0" width="7" height="176" fill="#000" opacity="0.22" />
      <g fill="#fff" textAnchor="middle" fontFamily="Georgia, 'Times New Roman', serif">
        <text x="63" y="26" fontSize="10.5" letterSpacing="1.2">
          ALSO SPRACH
        </text>
        <text x="63" y="42" fontSize="10.5" letterSpacing="1.2">
          ZARATHUSTRA
        </text>
        <text x="63" y="166" fontSize="8" letterSpacing="1.2" opacity="0.9">
          NIETZSCHE
        </text>
      </g>
    </svg>
  );
}
